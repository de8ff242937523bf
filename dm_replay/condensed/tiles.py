"""Tiles: several small images in the place of one, color at a lower resolution than brightness, few bits a value.

With a color factor c the three channels become brightness and two color differences by an orthonormal map. A stored
image then has one channel: H rows of brightness and below them both color planes of H/c × W/c, value by value. Stored
color is c times its value, so that a gradient step moves brightness and color alike.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..data.pixels import usual_size, within
from ..runtime.settings import FITTED, check_choices, check_whole_numbers
from .codec import Codec, Shape
from .color import to_planes, to_rgb
from .mosaic import ENLARGING, check_tiles, decode_tiles, encode_tiles, resample
from .stored import BITS, STORAGES, packed_width

__all__ = ["COLORS", "PLAIN", "Tiles"]

COLORS = (1, 2, 4)
SMALLEST = 8  # pixels of a tile's side that are worth training with


@dataclass(frozen=True)
class Tiles(Codec):
    """Mosaics of small images (multi-formation of IDC, Kim et al., ICML 2022), whole images as the case of one tile.

    Args:
        tiles: of a stored image along a side; each of tiles² is a training image when enlarged. 0 takes 2 where that
            leaves tiles of 8 × 8 pixels.
        color: of images of three channels, color is stored with sides divided by this: 1, 2 or 4. 0 takes 1 or, where
            bytes count, the largest that fits the images.
        enlarging: of tiles and color, and of images that were shrunk: "linear", bilinear as in the field; "sharp",
            bicubic and sharpened: networks learn more from it.
        resolution: pixels of the longest side at which images are stored and condensed; larger ones are shrunk by
            averaging before, and enlarged when they are decoded. 0 takes those of up to 64 × 64 pixels whole, and
            shrinks larger ones to about that, which two cores can bear; on a GPU take 128, or 224 for all of 224 × 224.
        storage: of a value: "float32", "float16", "uint8", "uint6" or "uint4": 4, 2, 1, 0.75, 0.5 bytes. "auto" is
            "float32" ("uint8" in a memory) or, where bytes count, "uint4" for tiles and "uint8" for whole images.
        size: (h, w) that ``resolution`` comes to; :meth:`fit` fills it in.

    Raises:
        ValueError: for a value that is none of its choices.

    >>> import torch
    >>> from dm_replay import Tiles
    >>> codec = Tiles(tiles=2, color=4).fit((3, 32, 32))
    >>> values = codec.encode(torch.rand(4, 3, 32, 32))  # four images in 36 x 32 values instead of 12,288
    >>> values.shape, codec.decode(values, torch.arange(4), (32, 32)).shape
    (torch.Size([1, 1, 36, 32]), torch.Size([4, 3, 32, 32]))
    """

    tiles: int = 0
    color: int = 0
    enlarging: str = "sharp"
    resolution: int = 0
    storage: str = "auto"
    size: tuple[int, int] | None = field(default=None, metadata=FITTED)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, tiles=0, color=0, resolution=0)
        check_choices(self, enlarging=ENLARGING, storage=("auto", *STORAGES))
        if self.color not in (0, *COLORS):
            raise ValueError(f"color must be one of {', '.join(map(str, (0, *COLORS)))}, got {self.color!r}")

    def fit(self, shape: Shape, nbytes: int | None = None) -> "Tiles":
        working = self.working_shape(shape)
        tiles = self.tiles or (2 if min(working[1:]) >= 2 * SMALLEST else 1)
        color = self.color or (1 if nbytes is None else self._coarsest(working, tiles))
        fitted = replace(self, tiles=tiles, color=color if shape[0] == 3 else 1, size=working[1:])
        if self.storage == "auto":
            fitted = fitted.stored_as("float32" if nbytes is None else self._fewest_bits(working[2]))
        fitted._check(working)
        return fitted

    def _fewest_bits(self, width: int) -> str:
        """Of a value that is worth its bytes; rows have to be whole bytes."""
        return "uint8" if self.plain or width * BITS["uint4"] % 8 else "uint4"

    def _coarsest(self, working: Shape, tiles: int) -> int:
        """The largest color factor that images of this shape can be stored with."""
        fitting = (color for color in sorted(COLORS, reverse=True) if self._color_fits(working, color, tiles))
        return next(fitting) if working[0] == 3 else 1

    @staticmethod
    def _color_fits(working: Shape, color: int, tiles: int) -> bool:
        _, height, width = working
        whole = height % color == width % color == 0 and 2 * height % color**2 == 0
        return color == 1 or (whole and min(height, width) // color >= tiles)

    def _check(self, working: Shape) -> None:
        """ValueError unless images of this shape can be stored so."""
        _, height, width = working
        check_tiles(self.tiles, height, width)
        if not self._color_fits(working, self.color, self.tiles):
            raise ValueError(f"color {self.color} with tiles {self.tiles} does not fit {height}x{width} images")
        if self.storage in BITS:
            packed_width(width, BITS[self.storage])

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
        return self.tiles == self.color == 1

    def full(self, shape: Shape) -> bool:
        return self.plain and self.working_shape(shape) == shape

    def value_shape(self, shape: Shape) -> Shape:
        channels, height, width = self.working_shape(shape)
        return (channels, height, width) if self.color == 1 else (1, height + 2 * height // self.color**2, width)

    def encode(self, images: Tensor) -> Tensor:
        if self.color == 1:
            return encode_tiles(images, self.tiles)
        planes = to_planes(images)
        size = [side // self.color for side in images.shape[2:]]
        brightness = encode_tiles(planes[:, :1], self.tiles)
        colors = encode_tiles(planes[:, 1:], self.tiles, size) * self.color
        below = colors.reshape(len(colors), 1, -1, images.shape[3])
        return torch.cat([brightness, below], dim=2)

    def decode(self, values: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = self._encoded(values)
        if self.color == 1:
            return decode_tiles(values, rows, self.tiles, None if size == (height, width) else size, self.enlarging)
        brightness, below = values[:, :, :height], values[:, :, height:]
        colors = below.reshape(len(values), 2, height // self.color, width // self.color) / self.color
        enlarged = decode_tiles(colors, rows, self.tiles, size, self.enlarging)
        tiles = decode_tiles(brightness, rows, self.tiles, None if size == (height, width) else size, self.enlarging)
        planes = torch.cat([tiles, enlarged], dim=1)
        return to_rgb(planes)

    def _encoded(self, values: Tensor) -> tuple[int, int]:
        """(h, w) of the images that became these values."""
        height, width = values.shape[2:]
        return (height, width) if self.color == 1 else (height * self.color**2 // (self.color**2 + 2), width)

    def stored_as(self, storage: str) -> "Tiles":
        return replace(self, storage=storage)

    def exact(self) -> "Tiles":
        return self if self.tiles == 1 else self.stored_as("float32")

    @property
    def channelwise(self) -> bool:
        return self.color == 1  # enlarging weighs pixels by weights that sum to 1

    def whole(self) -> "Tiles":
        return replace(self, tiles=1)

    def patchwork(self, parts: Tensor) -> Tensor:
        tile = self._tile_of(*self._encoded(parts)).to(parts.device)
        return parts.gather(0, tile.expand(1, *parts.shape[1:]))[0]

    def _tile_of(self, height: int, width: int) -> Tensor:
        """The number of the tile that each stored value belongs to, (1, …) int64."""
        numbers = torch.arange(float(self.images_per_stored))[:, None, None, None].expand(-1, 1, height, width)
        brightness = encode_tiles(numbers, self.tiles)[0]
        if self.color == 1:
            return brightness.round().long()
        size = height // self.color, width // self.color
        colors = encode_tiles(numbers.expand(-1, 2, -1, -1), self.tiles, size)
        return torch.cat([brightness, colors.reshape(1, -1, width)], dim=1).round().long()

    def resample(self, images: Tensor) -> Tensor:
        """The very same where ``tiles``, and with color also tiles · color, divides the sides."""
        height, width = self.size or images.shape[2:]
        tile = height // self.tiles, width // self.tiles
        if self.color == 1:
            return resample(images, tile, self.enlarging)
        planes = to_planes(images)
        brightness = resample(planes[:, :1], tile, self.enlarging)
        coarse = height // (self.tiles * self.color), width // (self.tiles * self.color)
        colors = resample(planes[:, 1:], coarse, self.enlarging)
        return to_rgb(torch.cat([brightness, colors], dim=1))


PLAIN = Tiles(tiles=1, color=1, enlarging="linear")  # whole images, as the paper keeps them
