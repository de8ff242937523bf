"""Whether the entries of a condensed set's file fit together, whoever wrote it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .decoder import COLORS, Decoder
from .formation import ENLARGING
from .quantize import BITS

__all__ = ["are_floats", "check_fields", "check_meta", "described", "expect", "is_plain"]

PIXELS = (torch.float32, torch.float16, torch.uint8)
LONGEST = 40  # characters of a text that are shown
LARGEST_SIDE = 2**13  # pixels
LARGEST = torch.finfo(torch.float32).max
OVERSHOOT = 64  # times; sharpening reaches 12 times the largest value of a mosaic, mixing of color planes adds to it


def check_fields(fields: dict[str, Any], path: Path | str) -> None:
    """ValueError unless the fields of a set fit together, and all its values are finite."""
    for name in ("pixels", "labels", "counts"):
        expect(is_plain(fields[name]), path, f"its {name} are {described(fields[name])}")
    pixels, labels, counts = fields["pixels"], fields["labels"], fields["counts"]
    images = pixels.ndim == 4 and pixels.numel() > 0 and pixels.dtype in PIXELS
    expect(images, path, f"its pixels are {described(pixels)}")
    expect(pixels.isfinite().all(), path, "its pixels are not all finite")
    whole = labels.dtype == torch.int64 and bool((labels >= 0).all())
    expect(whole and labels.shape == pixels.shape[:1], path, f"its labels are {described(labels)}")
    fits = counts.dtype == torch.int64 and counts.shape == labels.unique().shape and bool((counts >= 0).all())
    expect(fits, path, f"its counts are {described(counts)}, for {len(labels.unique())} classes")
    _check_ranges(fields["scale"], fields["offset"], pixels, path)
    shape = _checked_shape(fields, path)
    affine = fields["affine"]
    fits = affine is None or (are_floats(affine) and affine.shape == (2, shape[0]))
    expect(fits, path, f"its affine is {described(affine)}, for {shape[0]} channels")
    largest = _largest_value(fields)
    expect(largest < LARGEST, path, f"it holds values as large as {largest:.3g}")
    check_meta(fields["meta"], path, shape[0])


def check_meta(meta: Any, path: Path | str, channels: int) -> None:
    """What is known of the metadata is of its type."""
    expect(isinstance(meta, dict) and all(isinstance(name, str) for name in meta), path, "its meta is no dictionary")
    for name in ("mean", "std"):
        values = meta.get(name, [1.0] * channels)
        fits = _are_numbers(values, channels) and (name == "mean" or min(values) > 0)
        expect(fits, path, f"its {name} is {described(values)}, for {channels} channels")
    names = meta.get("names")
    texts = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    expect(names is None or texts, path, "its names are not a list of texts")
    expect(isinstance(meta.get("dataset", ""), str), path, f"its dataset is {described(meta.get('dataset'))}")


def are_floats(values: Any) -> bool:
    """Whether it is a tensor of finite float32."""
    return is_plain(values) and values.dtype == torch.float32 and bool(values.isfinite().all())


def is_plain(value: Any) -> bool:
    """Whether it is a tensor of numbers in memory, none of which stands for several."""
    strided = type(value) is Tensor and value.layout == torch.strided and not value.is_quantized and not value.is_meta
    if not strided or value.requires_grad or value.is_neg() or value.is_conj():
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def described(value: Any) -> str:
    """In a few words on one line."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    short = isinstance(value, float | str) and len(repr(value)) <= LONGEST
    short = short or (isinstance(value, int) and value.bit_length() <= 64)
    return repr(value) if short else type(value).__name__


def expect(condition: "bool | Tensor", path: Path | str, what: str) -> None:
    """ValueError about what a damaged file holds unless the condition is true."""
    if not condition:
        raise ValueError(f"{path} is a damaged condensed set: {what}")


def _check_ranges(scale: Any, offset: Any, pixels: Tensor, path: Path | str) -> None:
    """uint8 pixels have a scale and an offset, others none."""
    stored = f"for {described(pixels)}"
    for name, values in (("scale", scale), ("offset", offset)):
        has_none = pixels.dtype != torch.uint8 and values is None
        fits = pixels.dtype == torch.uint8 and are_floats(values) and values.shape == pixels.shape[:2]
        expect(has_none or fits, path, f"its {name} is {described(values)}, {stored}")


def _checked_shape(fields: dict[str, Any], path: Path | str) -> tuple[int, int, int]:
    """(C, h, w) of the images that were encoded."""
    pixels, bits, color, formation = (fields[name] for name in ("pixels", "bits", "color", "formation"))
    known = type(bits) is int and bits in BITS.values() and (bits == 8 or pixels.dtype == torch.uint8)
    fits = known and pixels.shape[3] * 8 % bits == 0
    expect(fits, path, f"its bits are {described(bits)}, for {described(pixels)}")
    expect(type(color) is int and color in COLORS, path, f"its color is {described(color)}")
    sides = range(1, 1 + max(pixels.shape))
    expect(type(formation) is int and formation in sides, path, f"its formation is {described(formation)}")
    enlarging = fields["enlarging"]
    known = isinstance(enlarging, str) and enlarging in ENLARGING
    expect(known, path, f"its enlarging is {described(enlarging)}, of {', '.join(ENLARGING)}")
    decoder = Decoder(formation, color, enlarging)
    channels, height, width = pixels.shape[1:]
    shape = decoder.encoded_shape((channels, height, width * 8 // bits))
    whole = decoder.stored_shape(shape)[:2] == (channels, height)
    expect(whole, path, f"its pixels are {described(pixels)}, for color {color}")
    try:
        decoder.check(shape)
    except ValueError as error:
        raise ValueError(f"{path} is a damaged condensed set: {error}") from error
    _check_size(fields["size"], shape, path)
    return shape


def _check_size(size: Any, shape: tuple[int, int, int], path: Path | str) -> None:
    """None, or larger than the images that were encoded, but no larger than pictures are."""
    sides = isinstance(size, tuple) and len(size) == 2 and all(type(side) is int for side in size)
    fits = sides and size != shape[1:] and all(a <= b <= LARGEST_SIDE for a, b in zip(shape[1:], size, strict=True))
    shown = f"{size[0]}x{size[1]}" if sides else described(size)
    expect(size is None or fits, path, f"its size is {shown}, for images of {shape[1]}x{shape[2]}")


def _largest_value(fields: dict[str, Any]) -> float:
    """A bound of what its images are decoded to, either sign."""
    pixels, scale, offset, affine = (fields[name] for name in ("pixels", "scale", "offset", "affine"))
    largest = float(pixels.abs().max())
    if scale is not None:
        largest = float((largest * scale.double().abs() + offset.double().abs()).max())
    if fields["formation"] > 1 or fields["color"] > 1 or fields["size"]:
        largest *= OVERSHOOT
    gain, shift = (1.0, 0.0) if affine is None else affine.double().abs().amax(1).tolist()
    return largest * gain + shift


def _are_numbers(values: Any, length: int) -> bool:
    """Whether it is a list of so many numbers that float32 can hold."""
    plain = isinstance(values, list | tuple) and len(values) == length
    return plain and all(isinstance(value, int | float) and abs(value) < LARGEST for value in values)
