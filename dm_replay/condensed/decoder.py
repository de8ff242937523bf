"""What stored pixels mean: mosaics of small images, color at a lower resolution than brightness.

With a color factor c the three channels become brightness and two color differences by an orthonormal map. A stored
image then has one channel: H rows of brightness and below them both color planes of H/c × W/c, value by value. Stored
color is c times its value, so that a gradient step moves brightness and color alike.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from .formation import ENLARGING, check_formation, decode_tiles, encode_tiles, resample

__all__ = ["COLORS", "Decoder", "Resolution", "check_color"]

COLORS = (1, 2, 4)
PLANES = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (6**-0.5, -2 * 6**-0.5, 6**-0.5))
Shape = tuple[int, int, int]


def check_color(color: int) -> None:
    """ValueError unless it is one of :data:`COLORS`."""
    if color not in COLORS:
        raise ValueError(f"color must be one of {', '.join(map(str, COLORS))}, got {color!r}")


@dataclass(frozen=True)
class Decoder:
    """Stored images (N, …) to training images (N · f², C, H, W), differentiably, and real images to stored ones.

    Args:
        formation: f, the tiles of a stored image along a side; each is a training image when enlarged.
        color: what the sides of the color planes are divided by; 1 keeps the channels as they are.
        enlarging: "linear", bilinear as in the field; "sharp", bicubic and sharpened: networks learn more from it.
        size: (H, W) of a training image, where stored ones are of images shrunk before; None for that of these.

    >>> import torch
    >>> from dm_replay.condensed.decoder import Decoder
    >>> decoder = Decoder(formation=2, color=4)
    >>> stored = decoder.encode(torch.rand(4, 3, 32, 32))  # four images in 36 x 32 values instead of 12,288
    >>> stored.shape, decoder.decode(stored, torch.arange(4)).shape
    (torch.Size([1, 1, 36, 32]), torch.Size([4, 3, 32, 32]))
    """

    formation: int = 1
    color: int = 1
    enlarging: str = "linear"
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, channels: int, formation: int, color: int, enlarging: str = "linear") -> "Decoder":
        """For images with so many channels; other than three are kept as they are."""
        return cls(formation, color if channels == 3 else 1, enlarging)

    @property
    def tiles(self) -> int:
        """Training images of a stored one."""
        return self.formation**2

    @property
    def plain(self) -> bool:
        """Whether stored images are training images as they are."""
        return self.formation == 1 and self.color == 1 and self.size is None

    def check(self, shape: Shape) -> None:
        """ValueError unless images of this shape (C, H, W) can be encoded so."""
        channels, height, width = shape
        check_formation(self.formation, height, width)
        check_color(self.color)
        if self.enlarging not in ENLARGING:
            raise ValueError(f"unknown enlarging {self.enlarging!r}; choose from {', '.join(ENLARGING)}")
        if self.color == 1:
            return
        if channels != 3:
            raise ValueError(f"color {self.color} needs images of 3 channels, got {channels}")
        whole = height % self.color == width % self.color == 0 and 2 * height % self.color**2 == 0
        if not whole or min(height, width) // self.color < self.formation:
            raise ValueError(f"color {self.color} with formation {self.formation} does not fit {height}x{width} images")

    def stored_shape(self, shape: Shape) -> Shape:
        """Of a stored image, where images (C, H, W) are encoded."""
        channels, height, width = shape
        return shape if self.color == 1 else (1, height + 2 * height // self.color**2, width)

    def encoded_shape(self, stored: Shape) -> Shape:
        """The inverse of :meth:`stored_shape`."""
        channels, height, width = stored
        return stored if self.color == 1 else (3, height * self.color**2 // (self.color**2 + 2), width)

    def image_shape(self, stored: Shape) -> Shape:
        """(C, H, W) of the training images that stored ones are decoded to."""
        channels, *size = self.encoded_shape(stored)
        height, width = self.size or size
        return channels, height, width

    def encode(self, images: Tensor) -> Tensor:
        """Images (N · f², C, H, W), shrunk by averaging -> stored (N, …): what condensing begins from."""
        if self.color == 1:
            return encode_tiles(images, self.formation)
        planes = _mixed(images, _planes(images.dtype, images.device))
        size = [side // self.color for side in images.shape[2:]]
        brightness = encode_tiles(planes[:, :1], self.formation)
        colors = encode_tiles(planes[:, 1:], self.formation, size) * self.color
        below = colors.reshape(len(colors), 1, -1, images.shape[3])
        return torch.cat([brightness, below], dim=2)

    def patchwork(self, parts: Tensor) -> Tensor:
        """One stored image (…) of several (f², …): its tile k is that of the k-th of them."""
        _, height, width = self.encoded_shape(tuple(parts.shape[1:]))  # type: ignore[arg-type]
        tile = self._tile_of(height, width).to(parts.device)
        return parts.gather(0, tile.expand(1, *parts.shape[1:]))[0]

    def _tile_of(self, height: int, width: int) -> Tensor:
        """The number of the tile that each stored value belongs to, (1, …) int64."""
        numbers = torch.arange(float(self.tiles))[:, None, None, None].expand(-1, 1, height, width)
        brightness = encode_tiles(numbers, self.formation)[0]
        if self.color == 1:
            return brightness.round().long()
        size = height // self.color, width // self.color
        colors = encode_tiles(numbers.expand(-1, 2, -1, -1), self.formation, size)
        return torch.cat([brightness, colors.reshape(1, -1, width)], dim=1).round().long()

    def decode(self, stored: Tensor, rows: Tensor) -> Tensor:
        """Training images of given numbers, (M,) int64 -> (M, C, H, W); tile t of stored image n is n · f² + t."""
        if self.color == 1:
            return decode_tiles(stored, rows, self.formation, self.size, self.enlarging)
        _, height, width = self.encoded_shape((1, *stored.shape[2:]))
        size = self.size or (height, width)
        brightness, below = stored[:, :, :height], stored[:, :, height:]
        colors = below.reshape(len(stored), 2, height // self.color, width // self.color) / self.color
        enlarged = decode_tiles(colors, rows, self.formation, size, self.enlarging)
        tiles = decode_tiles(brightness, rows, self.formation, self.size, self.enlarging)
        planes = torch.cat([tiles, enlarged], dim=1)
        return _mixed(planes, _planes(planes.dtype, planes.device).T)

    def resample(self, images: Tensor, encoded: tuple[int, int] | None = None) -> Tensor:
        """Images (N, C, H, W) at the resolution that they would have if they were encoded and decoded.

        The very same where f, and with color c also f · c, divides the sides.

        Args:
            encoded: (h, w) that they are shrunk to before; none by default.
        """
        if self.plain:
            return images
        height, width = encoded or images.shape[2:]
        tile = height // self.formation, width // self.formation
        if self.color == 1:
            return resample(images, tile, self.enlarging)
        planes = _mixed(images, _planes(images.dtype, images.device))
        brightness = resample(planes[:, :1], tile, self.enlarging)
        coarse = height // (self.formation * self.color), width // (self.formation * self.color)
        colors = resample(planes[:, 1:], coarse, self.enlarging)
        return _mixed(torch.cat([brightness, colors], dim=1), _planes(images.dtype, images.device).T)


@dataclass(frozen=True, eq=False)
class Resolution:
    """The resolution at which a set keeps its images, to which others can be brought.

    Attributes:
        decoder: of the set. affine: (2, C), what its images are multiplied by and shifted by; None for neither.
        encoded: (h, w) of the images that were encoded, where it is not that of the training images.
    """

    decoder: Decoder
    affine: Tensor | None = None
    encoded: tuple[int, int] | None = None

    @property
    def full(self) -> bool:
        """Whether all that an image has is kept, of color, too."""
        return self.decoder.plain

    def to(self, device: torch.device | str) -> "Resolution":
        return replace(self, affine=None if self.affine is None else self.affine.to(device))

    def resample(self, images: Tensor) -> Tensor:
        """Other images (N, C, H, W), in the values that the set's own are decoded to."""
        if self.affine is None:
            return self.decoder.resample(images, self.encoded)
        gain, shift = self.affine[:, :, None, None]
        return self.decoder.resample((images - shift) / gain, self.encoded) * gain + shift


@lru_cache(maxsize=8)
def _planes(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: a CUDA graph cannot hold a tensor that is made of host data."""
    return torch.tensor(PLANES, dtype=dtype, device=device)


def _mixed(images: Tensor, matrix: Tensor) -> Tensor:
    """Each channel of the result is a row of the matrix times the channels."""
    return F.conv2d(images, matrix[:, :, None, None])
