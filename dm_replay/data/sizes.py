"""At which size images are condensed and stored, where they are too large to be so whole."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["averaged", "usual_size", "within"]

# Condensing takes time and memory by the pixel: 64 x 64 four times those of 32 x 32, of which two cores do an iteration
# of two classes in 0.37 s, and 224 x 224 49 times. Reasoned from these.
WHOLE = 64 * 64  # pixels
STEP = 8  # pixels that sides are multiples of, so that codes of few bits and coarse color fit them
CHUNK = 64 * 224 * 224  # pixels that are averaged at a time


def usual_size(height: int, width: int) -> tuple[int, int]:
    """(h, w): images of up to 64 · 64 pixels whole, larger ones shrunk to about that, each side by the same factor.

    >>> from dm_replay.data.sizes import usual_size
    >>> usual_size(64, 64), usual_size(1, 128), usual_size(224, 224), usual_size(180, 320)
    ((64, 64), (1, 128), (64, 64), (48, 88))
    """
    if height * width <= WHOLE:
        return height, width
    factor = math.sqrt(WHOLE / (height * width))
    first, second = (min(side, STEP * max(1, round(side * factor / STEP))) for side in (height, width))
    return first, second


def within(height: int, width: int, longest: int) -> tuple[int, int]:
    """(h, w): shrunk so that the longest side has so many pixels; as they are where it has no more.

    >>> from dm_replay.data.sizes import within
    >>> within(180, 320, 128), within(32, 32, 128)
    ((72, 128), (32, 32))
    """
    largest = max(height, width)
    if largest <= longest:
        return height, width
    first, second = (max(1, round(side * longest / largest)) for side in (height, width))
    return first, second


def averaged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) shrunk to (h, w) by averaging; integers are rounded."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    together = max(1, CHUNK // math.prod(images.shape[2:]))
    return torch.cat([_averaged(part, size) for part in images.split(together)])


def _averaged(images: Tensor, size: tuple[int, int]) -> Tensor:
    found = F.adaptive_avg_pool2d(images.float(), size)
    return found if images.is_floating_point() else found.round().to(images.dtype)
