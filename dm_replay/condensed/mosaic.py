"""Many small images in the place of one: a stored image is a mosaic of f × f tiles, each enlarged to train with.

This is multi-formation of IDC (Kim et al., ICML 2022), with tiles of any size. Tile k of a side of length n covers the
pixels from k·n // f to (k + 1)·n // f, so sides that f does not divide have tiles of unequal size. Enlarging is linear
in the stored pixels, so that condensing goes through it.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["ENLARGING", "check_tiles", "decode_tiles", "encode_tiles", "enlarge", "resample"]

ENLARGING = ("linear", "sharp")  # bilinear; bicubic, and then each pixel away from the mean of its neighborhood


def check_tiles(tiles: int, height: int, width: int) -> None:
    """ValueError unless images of this size can hold ``tiles`` × ``tiles`` tiles of at least 2 × 2 pixels."""
    if tiles < 1 or (tiles > 1 and min(height, width) // tiles < 2):
        raise ValueError(
            f"tiles {tiles} does not fit {height}x{width} images: a tile needs at least 2 pixels a side, "
            f"so choose from 1 to {max(1, min(height, width) // 2)}"
        )


def decode_tiles(
    stored: Tensor, rows: Tensor, tiles: int, size: Sequence[int] | None = None, enlarging: str = "linear"
) -> Tensor:
    """Training images of a mosaic, each a tile enlarged to the whole size; differentiable in the stored pixels.

    Args:
        stored: (N, C, H, W). rows: (M,) int64, numbers of training images; tile t of stored image n, counted row by
            row, is number n · f² + t. size: of a training image (H', W'), that of a stored one by default.
        enlarging: one of :data:`ENLARGING`.

    Returns:
        (M, C, H', W').

    >>> import torch
    >>> from dm_replay.condensed.mosaic import decode_tiles
    >>> mosaics = torch.rand(1, 3, 32, 32)  # each of four tiles of 16 x 16
    >>> decode_tiles(mosaics, torch.arange(4), 2).shape
    torch.Size([4, 3, 32, 32])
    """
    if tiles == 1 and size is None:
        return stored[rows]
    sides = zip(stored.shape[-2:], size or stored.shape[-2:], strict=True)
    vertical, horizontal = (_enlarging(side, tiles, to, enlarging, stored.dtype, stored.device) for side, to in sides)
    each = tiles * tiles
    tile = rows % each
    up, across = vertical[tile // tiles], horizontal[tile % tiles]
    return up[:, None] @ stored[rows // each] @ across[:, None].transpose(2, 3)


def enlarge(images: Tensor, size: Sequence[int], enlarging: str = "linear") -> Tensor:
    """Images (N, C, h, w) -> (N, C, H, W)."""
    return decode_tiles(images, torch.arange(len(images), device=images.device), 1, size, enlarging)


def resample(images: Tensor, size: tuple[int, int], enlarging: str = "linear") -> Tensor:
    """Images (N, C, H, W) shrunk to a size (h, w), by averaging, and enlarged again."""
    whole = tuple(images.shape[2:])
    return images if tuple(size) == whole else enlarge(F.adaptive_avg_pool2d(images, size), whole, enlarging)


def encode_tiles(images: Tensor, tiles: int, size: Sequence[int] | None = None) -> Tensor:
    """Images (N · f², C, H, W), shrunk by averaging, as the tiles of (N, C, H', W'), of the same size by default."""
    if tiles == 1 and size is None:
        return images
    channels = images.shape[1]
    height, width = size or images.shape[2:]
    parts = images.view(-1, tiles, tiles, *images.shape[1:])
    stored = images.new_empty(len(parts), channels, height, width)
    for row, (top, bottom) in enumerate(_bounds(height, tiles)):
        for column, (left, right) in enumerate(_bounds(width, tiles)):
            tile = F.adaptive_avg_pool2d(parts[:, row, column], (bottom - top, right - left))
            stored[:, :, top:bottom, left:right] = tile
    return stored


def _bounds(side: int, tiles: int) -> list[tuple[int, int]]:
    return [(k * side // tiles, (k + 1) * side // tiles) for k in range(tiles)]


@lru_cache(maxsize=32)
def _enlarging(side: int, tiles: int, to: int, enlarging: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(f, to, side): row p of matrix k says how pixel p of the enlarged tile k reads the stored side."""
    matrices = torch.zeros(tiles, to, side, dtype=torch.float64)
    for k, (start, end) in enumerate(_bounds(side, tiles)):
        matrices[k, :, start:end] = _linear(end - start, to) if enlarging == "linear" else _sharp(end - start, to)
    return matrices.to(device, dtype)


def _linear(side: int, to: int) -> Tensor:
    unit = torch.eye(side, dtype=torch.float64)[None]
    return F.interpolate(unit, to, mode="linear", align_corners=False)[0].T


def _sharp(side: int, to: int) -> Tensor:
    """Bicubic; then twice each pixel less the mean of all within a stored pixel's reach."""
    unit = torch.eye(side, dtype=torch.float64)[None, :, None]
    cubic = F.interpolate(unit, (1, to), mode="bicubic", align_corners=False)[0, :, 0].T
    reach = max(1, round(to / side)) - 1
    padded = F.pad(torch.eye(to, dtype=torch.float64)[None], (reach, reach), mode="replicate")
    mean = F.avg_pool1d(padded, 2 * reach + 1, 1)[0].T
    return 2 * cubic - mean @ cubic
