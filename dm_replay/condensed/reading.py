"""Reading the files of condensed sets: no code is run, and what is damaged is refused in one line."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .decoder import COLORS, Decoder
from .quantize import BITS

__all__ = ["FORMAT", "FORMATS", "FIELDS", "OFFICIAL", "check_fields", "check_official", "read_content"]

FORMAT = "dm_replay.CondensedSet/4"
LINEAR = {"enlarging": "linear"}
PLAIN = {"bits": 8, "color": 1, "affine": None, **LINEAR}
FORMATS: dict[str, dict[str, Any]] = {  # what those of before had not
    "dm_replay.CondensedSet/1": {"formation": 1, **PLAIN},
    "dm_replay.CondensedSet/2": PLAIN,
    "dm_replay.CondensedSet/3": LINEAR,
    FORMAT: {},
}
FIELDS = ("pixels", "labels", "counts", "scale", "offset", "meta", "formation", "bits", "color", "affine", "enlarging")
OFFICIAL = "DatasetCondensation"
PIXELS = (torch.float32, torch.float16, torch.uint8)
NUMBERS = tuple(map(np.dtype, ("bool", "float16", "float32", "float64", "int32", "int64")))


def read_content(path: Path) -> dict[str, Any]:
    """The entries of a file of ``torch.save``, tensors and plain values, and numpy's numbers of any version of it.

    Raises:
        ValueError: if it is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        with torch.serialization.safe_globals([*_numpy_numbers(), np.dtype, *map(type, NUMBERS)]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a condensed set ({type(error).__name__} while reading it)") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a condensed set: it holds a {type(content).__name__}")
    return content


def check_fields(fields: dict[str, Any], path: Path) -> None:
    """ValueError unless the entries of a set's own format fit together."""
    for name in ("pixels", "labels", "counts"):
        _expect(_is_plain(fields.get(name)), path, f"its {name} are {_described(fields.get(name))}")
    pixels, labels, counts, scale, offset, meta, formation, bits, color, affine, enlarging = (
        fields[name] for name in FIELDS
    )
    _expect(pixels.ndim == 4 and pixels.dtype in PIXELS, path, f"its pixels are {_described(pixels)}")
    _expect(pixels.isfinite().all(), path, "its pixels are not all finite")
    whole = labels.dtype == torch.int64 and bool((labels >= 0).all())
    _expect(whole and labels.shape == pixels.shape[:1], path, f"its labels are {_described(labels)}")
    fits = counts.dtype == torch.int64 and counts.shape == labels.unique().shape and bool((counts >= 0).all())
    _expect(fits, path, f"its counts are {_described(counts)}, for {len(labels.unique())} classes")
    for name, values in (("scale", scale), ("offset", offset)):
        _expect(_fits_pixels(values, pixels), path, f"its {name} is {_described(values)}, for {_described(pixels)}")
    _expect(isinstance(formation, int), path, f"its formation is {_described(formation)}")
    known = bits in BITS.values() and (bits == 8 or pixels.dtype == torch.uint8)
    _expect(known and pixels.shape[3] * 8 % bits == 0, path, f"its bits are {bits!r}, for {_described(pixels)}")
    _expect(color in COLORS, path, f"its color is {color!r}")
    decoder = Decoder(formation, color, enlarging)
    shape = decoder.image_shape((pixels.shape[1], pixels.shape[2], pixels.shape[3] * 8 // bits))
    fits = decoder.stored_shape(shape)[:2] == tuple(pixels.shape[1:3])
    _expect(fits, path, f"its pixels are {_described(pixels)}, for color {color}")
    try:
        decoder.check(shape)
    except ValueError as error:
        raise ValueError(f"{path} is a damaged condensed set: {error}") from error
    whole = affine is None or (_is_plain(affine) and affine.shape == (2, shape[0]) and affine.dtype == torch.float32)
    _expect(whole, path, f"its affine is {_described(affine)}, for {shape[0]} channels")
    _check_meta(meta, path, shape[0])


def check_official(content: dict[str, Any], path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of the last experiment in a ``res_*.pt`` of the official code."""
    last = content["data"][-1]
    pair = isinstance(last, list | tuple) and len(last) == 2 and all(map(_is_plain, last))
    _expect(pair, path, "an experiment in 'data' is not a pair of images and labels")
    _expect(last[0].is_floating_point(), path, f"its images are {_described(last[0])}")
    images, labels = last
    return images, labels


def _numpy_numbers() -> list:
    """What makes a numpy number of its bytes, under the name it had before numpy 2 and under the one it has since."""
    rebuild: Any = np.float64(0).__reduce__()[0]

    def named(module: str):
        def scalar(dtype, content=b""):
            if dtype not in NUMBERS:
                raise ValueError(f"a number of type {dtype}")
            return rebuild(dtype, content)

        scalar.__module__, scalar.__qualname__ = module, "scalar"
        return scalar

    return [named("numpy.core.multiarray"), named("numpy._core.multiarray")]


def _check_meta(meta: Any, path: Path, channels: int) -> None:
    _expect(isinstance(meta, dict) and all(isinstance(name, str) for name in meta), path, "its meta is no dictionary")
    for name in ("mean", "std"):
        values = meta.get(name, [1.0] * channels)
        _expect(_are_numbers(values, channels) and (name == "mean" or min(values) > 0), path, f"its {name} is {values}")
    names = meta.get("names") or []
    texts = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    _expect(texts, path, "its names are not a list of texts")


def _fits_pixels(values: Any, pixels: Tensor) -> bool:
    """Whether this is a scale or an offset of those pixels; only uint8 has them."""
    if pixels.dtype != torch.uint8:
        return values is None
    fits = _is_plain(values) and values.dtype == torch.float32 and values.shape == pixels.shape[:2]
    return fits and bool(values.isfinite().all())


def _are_numbers(values: Any, length: int) -> bool:
    plain = isinstance(values, list | tuple) and len(values) == length
    return plain and all(isinstance(value, int | float) and np.isfinite(value) for value in values)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized and not value.is_meta


def _described(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _expect(condition: "bool | Tensor", path: Path, what: str) -> None:
    if not condition:
        raise ValueError(f"{path} is a damaged condensed set: {what}")
