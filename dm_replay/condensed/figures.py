"""Pictures of condensed images: a grid with one class per row, and an animation of the grids of a run."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..runtime.atomic_files import atomic
from .condensed_set import CondensedSet

__all__ = ["animate", "class_name", "grid", "real_pixels", "save_picture"]

SMALLEST = 48  # pixels; smaller images are enlarged by a whole factor until they are at least this high
GAP = 2  # pixels between images
FONT_SIZE = 14
PAPER, INK = 255, (40, 40, 40)


def real_pixels(condensed: CondensedSet) -> np.ndarray:
    """The images as they would look among the real ones: (N, H, W, C) uint8.

    The set's mean and std undo the normalization; without them each channel's own range becomes 0 to 255.
    """
    images = condensed.images
    if images.shape[1] not in (1, 3):
        raise ValueError(f"only images of 1 or 3 channels can be shown, these have {images.shape[1]}")
    if "mean" in condensed.meta and "std" in condensed.meta:
        mean, std = (torch.tensor(condensed.meta[name])[:, None, None] for name in ("mean", "std"))
        images = images * std + mean
    else:
        low, high = images.amin((0, 2, 3), keepdim=True), images.amax((0, 2, 3), keepdim=True)
        images = (images - low) / (high - low).clamp_min(1e-12)
    return (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def class_name(condensed: CondensedSet, label: int) -> str:
    """The name of a class where the set knows it, else its label."""
    names = condensed.meta.get("names") or []
    return names[label] if 0 <= label < len(names) else str(label)


def grid(condensed: CondensedSet, classes: int = 100, per_class: int = 50) -> Image.Image:
    """Classes as rows with their names.

    Args:
        classes: rows at most.
        per_class: images in a row at most.
    """
    pixels = _visible(real_pixels(condensed))
    labels = condensed.classes[:classes].tolist()
    rows = [(condensed.labels == label).nonzero()[:per_class, 0].tolist() for label in labels]
    if not any(rows):
        raise ValueError("no images to show")
    height, width = pixels.shape[1:3]
    names = [class_name(condensed, label) for label in labels]
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
    """A GIF of a run's snapshots, each captioned with its iteration; the last one is held longer."""
    pictures = [_captioned(frame) for frame in frames]
    each = max(50, round(1000 * seconds / len(pictures)))
    durations = [each] * (len(pictures) - 1) + [each + 2000]
    with atomic(out) as temporary:
        pictures[0].save(temporary, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def save_picture(picture: Image.Image, out: Path) -> None:
    """Write a PNG, whole or not at all."""
    with atomic(out) as temporary:
        picture.save(temporary, format="PNG")


def _visible(pixels: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, H', W', 3), enlarged by repeating pixels."""
    factor = -(-SMALLEST // min(pixels.shape[1:3]))
    large = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    return np.ascontiguousarray(np.broadcast_to(large, (*large.shape[:3], 3)))


def _captioned(frame: Path) -> Image.Image:
    snapshot = Image.open(frame).convert("RGB")
    band = FONT_SIZE + 4 * GAP
    picture = Image.new("RGB", (snapshot.width, snapshot.height + band), (PAPER,) * 3)
    picture.paste(snapshot, (0, band))
    iteration = int(re.findall(r"\d+", frame.stem)[-1])
    font = ImageFont.load_default(FONT_SIZE)
    ImageDraw.Draw(picture).text((2 * GAP, GAP), f"iteration {iteration:,}", INK, font)
    return picture
