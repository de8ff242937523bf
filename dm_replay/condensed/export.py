"""Images for other programs and for the eye: arrays, folders of PNGs, grids with one class per row, animations."""

import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..runtime.files import atomic
from .image_set import ImageSet

__all__ = [
    "ANIMATION",
    "FORMATS",
    "PICTURE",
    "animate",
    "class_name",
    "grid",
    "real_pixels",
    "save_picture",
    "to_imagefolder",
    "to_npz",
]

PICTURE, ANIMATION = ".png", ".gif"  # the suffixes of what is written here

SMALLEST = 48  # pixels; smaller images are enlarged by a whole factor until they are at least this high
GAP = 2  # pixels between images
FONT_SIZE = 14
LONGEST_NAME = 40  # characters of a class's name
PIXELS = 256 * 128 * 128  # that are decoded at a time
PAPER, INK = 255, (40, 40, 40)


def real_pixels(condensed: ImageSet) -> np.ndarray:
    """The images as they would look among the real ones: (N, H, W, C) uint8, of any number of channels C.

    The set's mean and std undo the normalization; without them each channel's own range becomes 0 to 255.
    """
    parts = torch.arange(condensed.decoded).split(max(1, PIXELS // math.prod(condensed.shape[1:])))
    known = "mean" in condensed.meta and "std" in condensed.meta
    if known:
        mean, std = (torch.tensor(condensed.meta[name])[:, None, None] for name in ("mean", "std"))
    else:
        low, high = _range([condensed.decode(part).aminmax(dim=0) for part in parts])
        reach = (high - low).clamp_min(1e-12)
    pixels = []
    for part in parts:
        images = condensed.decode(part)
        images = images * std + mean if known else (images - low) / reach
        pixels.append((images * 255).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(pixels).permute(0, 2, 3, 1).numpy()


def _range(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The least and the largest value of each channel, (C, 1, 1), from those of each pixel (C, H, W)."""
    low, high = (torch.stack(values) for values in zip(*parts, strict=True))
    return low.amin((0, 2, 3))[:, None, None], high.amax((0, 2, 3))[:, None, None]


def class_name(condensed: ImageSet, label: int) -> str:
    """The name of a class where the set knows it, else its label."""
    names = condensed.meta.get("names") or []
    return names[label] if 0 <= label < len(names) else str(label)


def grid(condensed: ImageSet, classes: int = 100, per_class: int = 50) -> Image.Image:
    """Classes as rows with their names.

    Images of two channels are shown by their mean, as gray; of more than three by the first three, as RGB.

    Args:
        classes: rows at most.
        per_class: images in a row at most.

    Raises:
        ValueError: if either is below 1, or the set is empty.

    >>> import torch
    >>> from dm_replay import ImageSet
    >>> from dm_replay.condensed.export import grid
    >>> condensed = ImageSet.from_images(torch.rand(4, 3, 32, 32), torch.tensor([0, 0, 1, 1]))
    >>> grid(condensed.with_meta(names=["cat", "dog"])).save("grid.png")
    """
    for what, limit in (("classes", classes), ("per_class", per_class)):
        if limit < 1:
            raise ValueError(f"{what} must be at least 1, got {limit}")
    pixels = _visible(real_pixels(condensed))
    labels = condensed.classes[:classes].tolist()
    rows = [(condensed.image_labels == label).nonzero()[:per_class, 0].tolist() for label in labels]
    if not any(rows):
        raise ValueError("no images to show")
    height, width = pixels.shape[1:3]
    names = [_short(class_name(condensed, label)) for label in labels]
    font = ImageFont.load_default(FONT_SIZE)
    margin = int(max(map(font.getlength, names))) + 4 * GAP
    size = (margin + max(map(len, rows)) * (width + GAP), GAP + len(rows) * (height + GAP))
    picture = Image.new("RGB", size, (PAPER,) * 3)
    pen = ImageDraw.Draw(picture)
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        top = GAP + number * (height + GAP)
        pen.text((margin - 2 * GAP, top + height / 2), name, INK, font, anchor="rm")
        for column, image in enumerate(row):
            picture.paste(Image.fromarray(pixels[image]), (margin + column * (width + GAP), top))
    return picture


def animate(frames: Sequence[Path], out: Path, seconds: float = 6.0) -> None:
    """A GIF of a run's snapshots, each captioned with its iteration; the last one is held longer.

    Raises:
        ValueError: if ``out`` is not called .gif, or a snapshot is damaged.
    """
    _check_suffix(out, ANIMATION)
    pictures = [_captioned(frame) for frame in frames]
    each = max(50, round(1000 * seconds / len(pictures)))
    durations = [each] * (len(pictures) - 1) + [each + 2000]
    with atomic(out) as temporary:
        pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def save_picture(picture: Image.Image, out: Path) -> None:
    """Write a PNG, whole or not at all; ValueError if ``out`` is not called .png."""
    _check_suffix(out, PICTURE)
    with atomic(out) as temporary:
        picture.save(temporary, format="PNG")


def _check_suffix(out: Path, suffix: str) -> None:
    if out.suffix.lower() != suffix:
        raise ValueError(f"{out} would be written as {suffix}: expected a name that ends in {suffix}")


def _short(name: str) -> str:
    """A name on one line that leaves room for the images."""
    line = " ".join(name.split())
    return line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1]}…"


def _visible(pixels: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, H', W', 3), enlarged by repeating pixels."""
    pixels = pixels[..., :3] if pixels.shape[3] > 2 else pixels.mean(3, keepdims=True).round().astype(np.uint8)
    factor = -(-SMALLEST // min(pixels.shape[1:3]))
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.ascontiguousarray(np.broadcast_to(large, (*large.shape[:3], 3)))


def _captioned(frame: Path) -> Image.Image:
    try:
        snapshot = Image.open(frame).convert("RGB")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read the snapshot {frame}: {error}") from error
    band = FONT_SIZE + 4 * GAP
    picture = Image.new("RGB", (snapshot.width, snapshot.height + band), (PAPER,) * 3)
    picture.paste(snapshot, (0, band))
    iteration = int(re.findall(r"\d+", frame.stem)[-1])
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(picture).text((2 * GAP, GAP), f"iteration {iteration:,}", INK, font)
    return picture


def to_npz(condensed: ImageSet, out: Path) -> None:
    """``images`` float32 (N, C, H, W) as networks see them, ``labels`` int64 (N,); of mosaics the decoded images.

    Where the set knows them, beside these: ``mean`` and ``std`` float32 (C,) of the normalization, in units of [0, 1],
    so that pixels are images · std + mean; and ``names`` of the classes, texts by label.

    >>> import numpy as np, torch
    >>> from pathlib import Path
    >>> from dm_replay import ImageSet
    >>> from dm_replay.condensed.export import to_npz
    >>> to_npz(ImageSet.from_images(torch.rand(4, 3, 8, 8), torch.tensor([0, 0, 1, 1])), Path("images.npz"))
    >>> np.load("images.npz")["images"].shape
    (4, 3, 8, 8)
    """
    meta, types = condensed.meta, {"mean": np.float32, "std": np.float32, "names": np.str_}
    known: dict[str, Any] = {name: np.array(meta[name], type_) for name, type_ in types.items() if meta.get(name)}
    with atomic(out) as temporary, open(temporary, "wb") as file:
        np.savez(file, images=condensed.images.numpy(), labels=condensed.image_labels.numpy(), **known)


def to_imagefolder(condensed: ImageSet, out: Path) -> None:
    """A new folder of PNGs of real pixel values, ``<label>_<class>/<number>.png``.

    Labels are padded with zeros: readers that number the folders alphabetically keep the classes' order.
    Values outside the range of real pixels are cut off; :func:`to_npz` keeps them.

    Raises:
        ValueError: if ``out`` is there already, or the images have other than 1 or 3 channels.
    """
    channels = condensed.shape[0]
    if channels not in (1, 3):
        raise ValueError(f"imagefolder takes images of 1 or 3 channels, these have {channels}; use --format npz")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists already; choose a new folder")
    pixels = real_pixels(condensed)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}-"))
    try:
        for label in condensed.classes.tolist():
            folder = temporary / _folder_name(condensed, label)
            folder.mkdir()
            for number, image in enumerate(pixels[(condensed.image_labels == label).numpy()]):
                picture = Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image)
                picture.save(folder / f"{number:04d}.png")
        temporary.chmod(0o755)
        temporary.rename(out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _folder_name(condensed: ImageSet, label: int) -> str:
    digits = len(str(int(condensed.classes.max())))
    name = re.sub(r"[^\w.-]+", "_", class_name(condensed, label))
    return f"{label:0{digits}d}" if name == str(label) else f"{label:0{digits}d}_{name}"


FORMATS = {"imagefolder": to_imagefolder, "npz": to_npz}
