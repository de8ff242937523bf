"""Eight, six or four bits a value: each channel of an image in its own range."""

import math

import torch
from torch import Tensor

__all__ = ["BITS", "check_storage", "dequantize", "pack", "packed_width", "quantize", "stored_bytes", "unpack"]

BITS = {"uint8": 8, "uint6": 6, "uint4": 4}
FLOATS = {"float32": 4, "float16": 2}  # bytes
RANGE = 8  # bytes of a channel's scale and offset


def quantize(images: Tensor, bits: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C, H, W) float -> (uint8 pixels, scale, offset), the latter (N, C): each channel's range in 2^bits − 1 steps.

    Values outside the range of real pixels survive; the error is at most half a step, ``scale / 2``.

    >>> import torch
    >>> from dm_replay.condensed.quantize import dequantize, quantize
    >>> images = 5 * torch.randn(2, 3, 8, 8)
    >>> pixels, scale, offset = quantize(images)
    >>> bool(((dequantize(pixels, scale, offset) - images).abs() <= 0.51 * scale[:, :, None, None]).all())
    True
    """
    most = 2**bits - 1
    low, high = images.amin((2, 3)).float(), images.amax((2, 3)).float()
    scale = (high - low) / most
    step = torch.where(scale > 0, scale, torch.ones_like(scale))[:, :, None, None]
    pixels = ((images.float() - low[:, :, None, None]) / step).round().clamp(0, most).to(torch.uint8)
    return pixels, scale, low


def dequantize(pixels: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """The inverse of ``quantize``: float32 (N, C, H, W)."""
    return pixels.float() * scale[:, :, None, None] + offset[:, :, None, None]


def stored_bytes(shape: tuple[int, int, int], storage: str) -> int:
    """Bytes of one stored image (C, H, W), with a scale and an offset for each channel where it has them.

    >>> from dm_replay.condensed.quantize import stored_bytes
    >>> stored_bytes((3, 32, 32), "uint8"), stored_bytes((1, 36, 32), "uint4")
    (3096, 584)
    """
    channels, height, width = shape
    if storage in BITS:
        return channels * (height * packed_width(width, BITS[storage]) + RANGE)
    return channels * height * width * FLOATS[storage]


def check_storage(storage: str, width: int) -> None:
    """ValueError for images whose rows of ``width`` pixels are no whole bytes in this storage."""
    if storage in BITS:
        packed_width(width, BITS[storage])


def packed_width(width: int, bits: int) -> int:
    """Bytes of a row of ``width`` pixels; ValueError unless they are whole."""
    if width * bits % 8:
        each = 8 // math.gcd(8, bits)
        raise ValueError(f"storage uint{bits} needs a width that {each} divides, got {width}")
    return width * bits // 8


def pack(pixels: Tensor, bits: int) -> Tensor:
    """uint8 values below 2^bits (…, W) -> bytes (…, W · bits / 8), the lowest bit of the first pixel first.

    >>> import torch
    >>> from dm_replay.condensed.quantize import pack, unpack
    >>> pack(torch.tensor([1, 2, 15, 0], dtype=torch.uint8), bits=4)
    tensor([33, 15], dtype=torch.uint8)
    >>> unpack(pack(torch.tensor([1, 2, 15, 0], dtype=torch.uint8), bits=4), bits=4)
    tensor([ 1,  2, 15,  0], dtype=torch.uint8)
    """
    packed_width(pixels.shape[-1], bits)
    return pixels if bits == 8 else _regrouped(pixels, bits, 8)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """The inverse of ``pack``."""
    return packed if bits == 8 else _regrouped(packed, 8, bits)


def _regrouped(values: Tensor, bits: int, into: int) -> Tensor:
    """The same bits in words of another size."""
    places = torch.arange(max(bits, into), device=values.device, dtype=torch.uint8)
    single = (values[..., None] >> places[:bits]) & 1
    words = single.flatten(-2).unflatten(-1, (-1, into)) << places[:into]
    return words.sum(-1, dtype=torch.uint8)
