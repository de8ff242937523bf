"""Whether what a file holds fits together, whoever wrote it."""

from typing import Any

import torch
from torch import Tensor

from .stored import STORAGES, Packed

__all__ = [
    "are_floats",
    "check_labels",
    "check_meta",
    "check_values",
    "described",
    "expect",
    "is_plain",
    "one_line",
    "packed_of",
    "rows_of",
]

LONGEST = 40  # characters of a text that are shown
LONGEST_LINE = 200  # those of a message
LARGEST = torch.finfo(torch.float32).max
OVERSHOOT = 64  # times; sharpening reaches 12 times the largest value of a mosaic


def packed_of(fields: dict[str, Any], shape: tuple[int, int, int], storage: str) -> Packed:
    """The stored images (N, …) of values of this shape, with all values finite.

    Raises:
        ValueError: if the fields are others, or do not fit together.
    """
    named: dict[str, Any] = {"pixels": None, "scale": None, "offset": None} | fields
    expect(len(named) == 3, f"it stores {', '.join(map(str, fields))}")
    pixels, scale, offset = named["pixels"], named["scale"], named["offset"]
    fits = is_plain(pixels) and pixels.dtype == STORAGES[storage] and pixels.shape[1:] == shape
    expect(fits and len(pixels) > 0, f"its pixels are {described(pixels)}, for {storage} of {shape}")
    expect(pixels.isfinite().all(), "its pixels are not all finite")
    for name, values in (("scale", scale), ("offset", offset)):
        fits = are_floats(values) and values.shape == pixels.shape[:2] if storage == "uint8" else values is None
        expect(fits, f"its {name} is {described(values)}, for {described(pixels)}")
    return Packed(pixels, scale, offset)


def check_values(values: Tensor, affine: Any) -> None:
    """ValueError unless the values of stored images (N, …), decoded and mapped, are finite for certain."""
    largest = values.abs().max().double() * OVERSHOOT
    if affine is not None:
        largest = (largest * affine[0].abs() + affine[1].abs()).max()
    expect(largest < LARGEST, f"it holds values as large as {float(largest / OVERSHOOT):.3g}")


def check_labels(labels: Any, counts: Any, images: int) -> None:
    """ValueError unless there is a label for each stored image, and a count for each class."""
    whole = is_plain(labels) and labels.dtype == torch.int64 and bool((labels >= 0).all())
    expect(whole and labels.shape == (images,), f"its labels are {described(labels)}, for {images} images")
    whole = is_plain(counts) and counts.dtype == torch.int64 and bool((counts >= 0).all())
    fits = whole and counts.shape == labels.unique().shape
    expect(fits, f"its counts are {described(counts)}, for {len(labels.unique())} classes")


def check_meta(meta: Any, channels: int) -> None:
    """What is known of the metadata is of its type."""
    expect(isinstance(meta, dict) and all(isinstance(name, str) for name in meta), "its meta is no dictionary")
    for name in ("mean", "std"):
        values = meta.get(name, [1.0] * channels)
        fits = _are_numbers(values, channels) and (name == "mean" or min(values) > 0)
        expect(fits, f"its {name} is {described(values)}, for {channels} channels")
    names = meta.get("names")
    texts = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    expect(names is None or texts, "its names are not a list of texts")
    expect(isinstance(meta.get("dataset", ""), str), f"its dataset is {described(meta.get('dataset'))}")


def rows_of(value: Any, dtype: torch.dtype) -> int:
    """The length of a tensor (N,) of that type; ValueError for anything else."""
    expect(is_plain(value) and value.ndim == 1 and value.dtype == dtype, f"a {described(value)}, expected {dtype} (N,)")
    return len(value)


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


def one_line(error: Exception) -> str:
    """An error's message, not longer than a line; its type where it has none."""
    words = " ".join(str(error).split())
    return words[:LONGEST_LINE] or type(error).__name__


def expect(condition: "bool | Tensor", what: str) -> None:
    """ValueError about what a damaged file holds unless the condition is true."""
    if not condition:
        raise ValueError(what)


def _are_numbers(values: Any, length: int) -> bool:
    """Whether it is a list of so many numbers that float32 can hold."""
    plain = isinstance(values, list | tuple) and len(values) == length
    return plain and all(isinstance(value, int | float) and abs(value) < LARGEST for value in values)
