"""Settings of exemplars: real images, whole, shrunk or coded."""

from dataclasses import dataclass

from ..condensed.coding import CODECS
from ..condensed.condensed_set import STORAGES
from ..condensed.decoder import Decoder, check_color
from ..condensed.formation import ENLARGING
from ..data.pixels import within
from ..networks import parse
from ..runtime.validation import check_choices, check_whole_numbers, unwrap_numpy

__all__ = ["CodedConfig", "ExemplarConfig"]


@dataclass(frozen=True)
class ExemplarConfig:
    """How many real images of each class to keep, and how.

    Args:
        ipc: stored images per class.
        storage: "float32", "float16", "uint8", "uint6" or "uint4"; "auto" is "uint8" for pools of uint8 pixels, else
            "float32".
        formation: each stored image is a mosaic of formation² real images, shrunk.
        color: of images of three channels, color is stored with sides divided by this: 1, 2 or 4.
        enlarging: of tiles and color, and of images that were shrunk: "linear" or "sharp"; see :class:`Decoder`.
        resolution: pixels of the longest side at which images are stored, larger ones shrunk before; None for all.
        network: the random embedding in which herding and k-means compare images.
    """

    ipc: int = 10
    storage: str = "auto"
    formation: int = 1
    color: int = 1
    enlarging: str = "sharp"
    resolution: int | None = None
    network: str = "convnet"

    def __post_init__(self):
        unwrap_numpy(self)
        check_whole_numbers(self, ipc=1, formation=1)
        check_color(self.color)
        if self.resolution is not None:
            check_whole_numbers(self, resolution=1)
        check_choices(self, enlarging=ENLARGING, storage=("auto", *STORAGES))
        parse(self.network)

    def condensed_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, h, w) at which images (C, H, W) are stored."""
        channels, height, width = shape
        return shape if self.resolution is None else (channels, *within(height, width, self.resolution))

    def decoder(self, channels: int) -> Decoder:
        """Of images with so many channels; those of other than three keep them as they are."""
        return Decoder.of(channels, self.formation, self.color, self.enlarging)


@dataclass(frozen=True)
class CodedConfig:
    """How many real images of each class to keep in the bytes of a few.

    Args:
        ipc: raw uint8 images per class whose bytes the coded ones may take.
        images: coded images per class.
        codec: "webp" or "jpeg", both of Pillow.
        shrink: each side is divided by this before coding.
        enlarging: of shrunk images: "linear" or "sharp"; see :class:`Decoder`.
    """

    ipc: int = 10
    images: int = 40
    codec: str = "webp"
    shrink: int = 1
    enlarging: str = "sharp"

    def __post_init__(self):
        unwrap_numpy(self)
        check_whole_numbers(self, ipc=1, images=1, shrink=1)
        check_choices(self, codec=CODECS, enlarging=ENLARGING)
