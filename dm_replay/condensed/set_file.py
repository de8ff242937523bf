"""The files of image sets: no code is run on reading, and what is damaged is refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..runtime.files import is_sealed, save_sealed
from ..runtime.settings import from_plain, to_plain
from . import dct, tiles  # noqa: F401, a file names a codec's class, and these are then known
from .checks import are_floats, check_labels, check_meta, check_values, described, expect, is_plain, one_line
from .codec import Codec

__all__ = ["fields_of", "read_set", "set_fields", "write_set"]

FORMAT = "dm_replay.ImageSet/1"
FIELDS = ("stored", "labels", "counts", "shape", "codec", "meta", "affine")
OFFICIAL = "DatasetCondensation"
LARGEST_SIDE = 2**13  # pixels
TYPES = tuple(map(np.dtype, ("bool", "float16", "float32", "float64", "int32", "int64")))


def fields_of(images: Any) -> dict[str, Any]:
    """A set as tensors and plain values."""
    plain = {name: getattr(images, name) for name in FIELDS}
    return plain | {"stored": images.stored.fields(), "codec": to_plain(images.codec)}


def set_fields(fields: Any) -> dict[str, Any]:
    """The arguments of a set from its :func:`fields_of`.

    Raises:
        ValueError: unless they are there and fit together.
    """
    names = isinstance(fields, dict) and set(fields) == set(FIELDS)
    expect(names, f"expected the entries {', '.join(FIELDS)}, got {described(fields)}")
    shape, meta, affine = (fields[name] for name in ("shape", "meta", "affine"))
    sides = isinstance(shape, tuple) and len(shape) == 3 and all(type(side) is int for side in shape)
    expect(sides and all(0 < side <= LARGEST_SIDE for side in shape), f"its shape is {described(shape)}")
    codec = from_plain(fields["codec"], Codec)
    expect(codec.fit(shape) == codec, f"its codec {codec} does not fit images of {shape}")
    working = codec.working_shape(shape)
    expect(all(a <= b for a, b in zip(working, shape, strict=True)), f"it has images of {working}, larger than {shape}")
    expect(isinstance(fields["stored"], dict), f"it has a {described(fields['stored'])} of stored images")
    stored = codec.stored_of(fields["stored"], shape)
    check_labels(fields["labels"], fields["counts"], len(stored))
    check_meta(meta, shape[0])
    fits = affine is None or (are_floats(affine) and affine.shape == (2, shape[0]))
    expect(fits, f"its affine is {described(affine)}, for {shape[0]} channels")
    check_values(codec.read(stored, torch.arange(len(stored))), affine)
    return {**fields, "stored": stored, "codec": codec}


def write_set(images: Any, path: str | Path) -> None:
    """Write a set with a checksum, whole or not at all."""
    save_sealed({"format": FORMAT, **fields_of(images)}, path)


def read_set(path: Path) -> dict[str, Any]:
    """The arguments of a set in a file of :func:`write_set`; of the official code's ``res_*.pt`` images and labels.

    Raises:
        ValueError: if it is missing, damaged, or holds anything else.
    """
    content = _read(path)
    try:
        if "format" not in content:
            return _official(content)
        known = isinstance(content["format"], str) and content["format"] == FORMAT
        expect(known, f"its format is {described(content['format'])}, expected {FORMAT!r}")
        return set_fields({name: value for name, value in content.items() if name != "format"})
    except Exception as error:  # whatever a crafted file makes of it
        raise ValueError(f"{path} is no image set, or damaged: {one_line(error)}") from error


def _read(path: Path) -> dict[str, Any]:
    sealed = is_sealed(path)
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not an image set ({type(error).__name__} while reading it)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not an image set: it holds a {type(content).__name__}")
    if "format" in content and not sealed:
        raise ValueError(f"{path} is not an image set: it has no checksum")
    return content


def _official(content: dict[str, Any]) -> dict[str, Any]:
    """Images and labels of the last experiment."""
    expect(isinstance(content.get("data"), list) and content["data"], "it has no entry 'format' or 'data'")
    last = content["data"][-1]
    pair = isinstance(last, list | tuple) and len(last) == 2 and all(map(is_plain, last))
    expect(pair, "an experiment in 'data' is not a pair of images and labels")
    images, labels = last
    fits = images.is_floating_point() and images.ndim == 4 and images.numel() > 0
    expect(fits, f"its images are {described(images)}")
    return {"images": images, "labels": labels, "meta": {"source": OFFICIAL, "experiments": len(content["data"])}}


def _maker(module: str):
    """What makes a number of its bytes, under the name that it has in a numpy whose scalars are in ``module``."""
    rebuild: Any = np.float64(0).__reduce__()[0]

    def scalar(dtype, content=b""):
        if dtype not in TYPES:
            raise ValueError(f"a number of type {dtype}")
        return rebuild(dtype, content)

    scalar.__module__, scalar.__qualname__ = module, "scalar"
    return scalar


# For torch.serialization.safe_globals: the names of before numpy 2 and of since.
NUMPY_NUMBERS = [*map(_maker, ("numpy.core.multiarray", "numpy._core.multiarray")), np.dtype, *map(type, TYPES)]
