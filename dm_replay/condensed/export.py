"""Condensed images for other programs."""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..runtime.files import atomic
from .figures import class_name, real_pixels
from .image_set import ImageSet

__all__ = ["FORMATS", "to_imagefolder", "to_npz"]


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
