"""Reading the files of condensed sets: no code is run, and what is damaged is refused in one line."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.files import is_sealed
from .checks import check_fields, described, expect, is_plain
from .numpy_numbers import NUMPY_NUMBERS

__all__ = ["FIELDS", "FORMAT", "OFFICIAL", "official_images", "own_fields", "read_content"]

FORMAT = "dm_replay.CondensedSet/6"
IMAGES = ("pixels", "labels", "counts", "scale", "offset", "meta")
FIELDS = (*IMAGES, "formation", "bits", "color", "affine", "enlarging", "size")
OFFICIAL = "DatasetCondensation"


def read_content(path: Path) -> dict[str, Any]:
    """The entries of a file of ``torch.save``, tensors and plain values, and numpy's numbers of any version of it.

    Raises:
        ValueError: if it is missing, damaged, or holds anything else.
    """
    sealed = is_sealed(path)
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a condensed set ({type(error).__name__} while reading it)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a condensed set: it holds a {type(content).__name__}")
    if "format" in content and not sealed:
        raise ValueError(f"{path} is not a condensed set: it has no checksum")
    return content


def own_fields(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields of a set in a file of :meth:`CondensedSet.save`; ValueError unless they are there and fit together."""
    version = content["format"]
    if not isinstance(version, str) or version != FORMAT:
        raise ValueError(f"{path} is not a condensed set: its format is {described(version)}, expected {FORMAT!r}")
    fields = {name: content.get(name) for name in FIELDS}
    check_fields(fields, path)
    return fields


def official_images(content: dict[str, Any], path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of the last experiment in a ``res_*.pt`` of the official code."""
    if not isinstance(content.get("data"), list) or not content["data"]:
        raise ValueError(f"{path} is not a condensed set: no entry 'format' or 'data'")
    last = content["data"][-1]
    pair = isinstance(last, list | tuple) and len(last) == 2 and all(map(is_plain, last))
    expect(pair, path, "an experiment in 'data' is not a pair of images and labels")
    images, labels = last
    expect(images.is_floating_point(), path, f"its images are {described(images)}")
    expect(images.ndim == 4 and images.numel() > 0, path, f"its images are {described(images)}")
    return images, labels
