"""Tiles: a stored image is whole, or a mosaic of f × f small images, each enlarged to train with.

This is multi-formation of IDC (Kim et al., ICML 2022), with tiles of any size. Tile k of a side of length n covers the
pixels from k·n // f to (k + 1)·n // f, so sides that f does not divide have tiles of unequal size. Enlarging is linear
in the stored pixels, so that condensing goes through it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.pixels import usual_size, within
from ..runtime.settings import FITTED, check_choices, check_whole_numbers
from .codec import Codec, Shape
from .stored import STORAGES, Stored

__all__ = ["ENLARGING", "PLAIN", "Tiles", "check_tiles", "decode_tiles", "encode_tiles", "enlarge"]

ENLARGING = ("linear", "sharp")  # bilinear; bicubic, and then each pixel away from the mean of its neighborhood
SMALLEST = 8  # pixels of a tile's side that are worth training with


@dataclass(frozen=True)
class Tiles(Codec):
    """Mosaics of small images, whole images as the case of one tile.

    Args:
        tiles: of a stored image along a side; each of tiles² is a training image when enlarged. 0 takes 2 where that
            leaves tiles of 8 × 8 pixels.
        enlarging: of tiles, and of images that were shrunk: "linear", bilinear as in the field; "sharp", bicubic and
            sharpened: networks learn more from it.
        resolution: pixels of the longest side at which images are stored and condensed; larger ones are shrunk by
            averaging before, and enlarged when they are decoded. 0 takes those of up to 64 × 64 pixels whole, and
            shrinks larger ones to about that, which two cores can bear; on a GPU take 128, or 224 for all of 224 × 224.
        storage: of a value: "float32", "float16" or "uint8", in 4, 2 or 1 bytes. "auto" is "float32", or "uint8" in a
            memory and where bytes count.
        size: (h, w) that ``resolution`` comes to; :meth:`fit` fills it in.

    Raises:
        ValueError: for a value that is none of its choices.

    >>> import torch
    >>> from dm_replay import Tiles
    >>> codec = Tiles(tiles=2).fit((3, 32, 32))
    >>> values = codec.encode(torch.rand(4, 3, 32, 32))  # four images in the values of one
    >>> values.shape, codec.decode(values, torch.arange(4), (32, 32)).shape
    (torch.Size([1, 3, 32, 32]), torch.Size([4, 3, 32, 32]))
    """

    channelwise = True  # enlarging weighs pixels by weights that sum to 1

    tiles: int = 0
    enlarging: str = "sharp"
    resolution: int = 0
    storage: str = "auto"
    size: tuple[int, int] | None = field(default=None, metadata=FITTED)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, tiles=0, resolution=0)
        check_choices(self, enlarging=ENLARGING, storage=("auto", *STORAGES))

    def fit(self, shape: Shape) -> "Tiles":
        height, width = self.working_shape(shape)[1:]
        tiles = self.tiles or (2 if min(height, width) >= 2 * SMALLEST else 1)
        check_tiles(tiles, height, width)
        storage = "float32" if self.storage == "auto" else self.storage
        return replace(self, tiles=tiles, storage=storage, size=(height, width))

    def working_shape(self, shape: Shape) -> Shape:
        channels, height, width = shape
        if self.size is not None:
            return channels, *self.size
        size = within(height, width, self.resolution) if self.resolution else usual_size(height, width)
        return channels, *size

    @property
    def images_per_stored(self) -> int:  # type: ignore[override]
        return self.tiles**2

    @property
    def plain(self) -> bool:
        return self.tiles == 1

    def full(self, shape: Shape) -> bool:
        return self.plain and self.working_shape(shape) == shape

    def value_shape(self, shape: Shape) -> Shape:
        return self.working_shape(shape)

    def encode(self, images: Tensor) -> Tensor:
        return encode_tiles(images, self.tiles)

    def decode(self, values: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
        return decode_tiles(values, rows, self.tiles, None if size == tuple(values.shape[2:]) else size, self.enlarging)

    def store(self, values: Tensor) -> Stored:
        """Values (N, C', H', W') -> stored images.

        Raises:
            ValueError: if the codec is not fitted to them.
        """
        if self.storage == "auto":
            raise ValueError(f"{self} is not fitted to images")
        return super().store(values)

    def stored_as(self, storage: str) -> "Tiles":
        return replace(self, storage=storage)

    def whole(self) -> "Tiles":
        return replace(self, tiles=1)

    def patchwork(self, parts: Tensor) -> Tensor:
        numbers = torch.arange(float(self.images_per_stored))[:, None, None, None].expand(-1, 1, *parts.shape[2:])
        tile = encode_tiles(numbers, self.tiles)[0].round().long().to(parts.device)
        return parts.gather(0, tile.expand(1, *parts.shape[1:]))[0]

    def resample(self, images: Tensor) -> Tensor:
        """The very same where ``tiles`` divides the sides."""
        height, width = self.size or images.shape[2:]
        whole, tile = tuple(images.shape[2:]), (height // self.tiles, width // self.tiles)
        return images if tile == whole else enlarge(F.adaptive_avg_pool2d(images, tile), whole, self.enlarging)


PLAIN = Tiles(tiles=1, enlarging="linear")  # whole images, as the paper keeps them


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
    >>> from dm_replay.condensed.tiles import decode_tiles
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


def encode_tiles(images: Tensor, tiles: int) -> Tensor:
    """Images (N · f², C, H, W), shrunk by averaging, as the tiles of (N, C, H, W)."""
    if tiles == 1:
        return images
    height, width = images.shape[2:]
    parts = images.view(-1, tiles, tiles, *images.shape[1:])
    stored = images.new_empty(len(parts), *images.shape[1:])
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
