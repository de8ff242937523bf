"""The fields of a coded set as tensors and plain values, and back, with what makes sure of them."""

import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .checks import are_floats, check_meta, described, is_plain
from .coded_set import CodedSet
from .coding import ImageCodec
from .formation import ENLARGING

__all__ = ["coded_fields", "coded_of"]

CODEC = "webp"  # whose codes tell all that decoding needs
FIELDS = ("codes", "lengths", "labels", "counts", "shape", "quality", "enlarging", "spans", "affine", "meta")


def coded_fields(images: CodedSet) -> dict[str, Any]:
    """The codes one after another, (bytes,) uint8, with the length of each."""
    codes = torch.frombuffer(bytearray(b"".join(images.codes)), dtype=torch.uint8)
    return {
        **{name: getattr(images, name) for name in ("labels", "counts", "enlarging", "spans", "affine", "meta")},
        "codes": codes,
        "lengths": torch.tensor([len(code) for code in images.codes]),
        "shape": list(images.shape),
        "quality": images.codec.quality,
    }


def coded_of(fields: Any) -> CodedSet:
    """The set of :func:`coded_fields`.

    Raises:
        ValueError: if they are others, do not fit together, or a code is no picture that fits the shape.
    """
    if not isinstance(fields, dict) or set(fields) != set(FIELDS):
        raise ValueError(f"expected the entries {', '.join(FIELDS)}, got {described(fields)}")
    codes, lengths, labels, counts = (fields[name] for name in ("codes", "lengths", "labels", "counts"))
    many = _rows(fields, "codes", torch.uint8), _rows(fields, "lengths"), _rows(fields, "labels")
    fits = many[1] == many[2] > 0 and bool((lengths > 0).all()) and int(lengths.sum()) == many[0]
    _expect(fits and bool((labels >= 0).all()), f"{many[1]} lengths of {many[0]} bytes and {many[2]} labels")
    fits = _rows(fields, "counts") == len(labels.unique()) and bool((counts >= 0).all())
    _expect(fits, f"counts {described(counts)}, for {len(labels.unique())} classes")
    shape, spans, affine, quality = (fields[name] for name in ("shape", "spans", "affine", "quality"))
    sides = isinstance(shape, list) and len(shape) == 3 and all(type(side) is int and side > 0 for side in shape)
    _expect(sides and shape[0] in (1, 3), f"shape {shape if sides else described(shape)}")
    _expect(spans is None or _is_table(spans, (len(labels), 2)), f"spans {described(spans)}")
    _expect(affine is None or _is_table(affine, (2, shape[0])), f"affine {described(affine)}")
    _expect(type(quality) is int and 0 <= quality <= 100, f"quality {described(quality)}")
    _expect(fields["enlarging"] in ENLARGING, f"enlarging {described(fields['enlarging'])}")
    check_meta(fields["meta"], "it", shape[0])
    split = tuple(bytes(code.tolist()) for code in codes.split(lengths.tolist()))
    for code in split:
        _check_code(code, shape[1], shape[2])
    codec, whole = ImageCodec(CODEC, quality), (shape[0], shape[1], shape[2])
    return CodedSet(split, labels, counts, whole, codec, fields["meta"], fields["enlarging"], spans, affine)


def _check_code(code: bytes, height: int, width: int) -> None:
    try:
        with Image.open(io.BytesIO(code), formats=[CODEC]) as picture:
            fits = picture.height <= height and picture.width <= width
            if fits:
                picture.load()
    except Exception as error:  # whatever a damaged picture makes of it
        raise ValueError(f"a code is no picture ({type(error).__name__} while reading it)") from error
    _expect(fits, f"a picture larger than {height} x {width}")


def _rows(fields: dict[str, Any], name: str, dtype: torch.dtype = torch.int64) -> int:
    """The length of a tensor (N,) of that type; ValueError for anything else."""
    value = fields[name]
    _expect(is_plain(value) and value.ndim == 1 and value.dtype == dtype, f"{name} {described(value)}")
    return len(value)


def _is_table(value: Any, shape: tuple[int, ...]) -> bool:
    return are_floats(value) and value.shape == shape


def _expect(condition: "bool | Tensor", what: str) -> None:
    if not condition:
        raise ValueError(f"it has {what}")
