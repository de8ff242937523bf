"""Eight bits a value: each channel of an image in its own range."""

import torch
from torch import Tensor

__all__ = ["dequantize", "quantize"]


def quantize(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C, H, W) float -> (uint8 pixels, scale, offset), the latter (N, C): each channel's own range in 255 steps.

    Values outside the range of real pixels survive; the error is at most half a step, ``scale / 2``.

    >>> import torch
    >>> from dm_replay.condensed.quantize import dequantize, quantize
    >>> images = 5 * torch.randn(2, 3, 8, 8)
    >>> pixels, scale, offset = quantize(images)
    >>> bool(((dequantize(pixels, scale, offset) - images).abs() <= 0.51 * scale[:, :, None, None]).all())
    True
    """
    low, high = images.amin((2, 3)).float(), images.amax((2, 3)).float()
    scale = (high - low) / 255
    step = torch.where(scale > 0, scale, torch.ones_like(scale))[:, :, None, None]
    pixels = ((images.float() - low[:, :, None, None]) / step).round().clamp(0, 255).to(torch.uint8)
    return pixels, scale, low


def dequantize(pixels: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """The inverse of ``quantize``: float32 (N, C, H, W)."""
    return pixels.float() * scale[:, :, None, None] + offset[:, :, None, None]
