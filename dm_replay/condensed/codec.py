"""Codec: how an image is stored, in one object."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..runtime.settings import Plain
from .checks import packed_of
from .stored import Packed, Stored

__all__ = ["Codec", "Shape"]

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Codec(Plain):
    """Training images to stored ones and back, in two steps.

    ``encode`` and ``decode`` go between images and the values of stored ones. Condensing moves these values, so
    ``decode`` is differentiable. ``store`` and ``read`` go between values and bytes. Sets whose codecs are equal can be
    merged.

    A codec of your own is a frozen dataclass with ``encode`` and ``decode``; whatever else is different, it overrides.

    Attributes:
        images_per_stored: training images in one stored image.
        slow: whether reading stored images takes so long that it is better done once than for each mini-batch.
        channelwise: whether resampling is the same before and after any gain and shift of channels.
        storage: of a value by default, one of :data:`~dm_replay.condensed.stored.STORAGES`.

    >>> from dataclasses import dataclass
    >>> import torch
    >>> from dm_replay import Codec, ImageSet
    >>> @dataclass(frozen=True)
    ... class TopHalf(Codec):
    ...     def encode(self, images):
    ...         return images[:, :, : images.shape[2] // 2]
    ...     def decode(self, values, rows, size):
    ...         return torch.cat([values[rows], values[rows]], dim=2)
    >>> ImageSet.from_images(torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), TopHalf()).nbytes  # of 3 x 4 x 8 values each
    240
    """

    images_per_stored: ClassVar[int] = 1
    slow: ClassVar[bool] = False
    channelwise: ClassVar[bool] = False
    storage = "uint8"  # without a type: else it would come first among the arguments of a codec that has it as a field

    def fit(self, shape: Shape) -> "Codec":
        """The same with what was left open chosen for images (C, H, W).

        Raises:
            ValueError: if such images cannot be stored so.
        """
        return self

    def for_class(self, shape: Shape, nbytes: int) -> "Codec":
        """The same with what was left open chosen for images (C, H, W), those of a class in so many bytes together."""
        return self

    def for_memory(self, shape: Shape, nbytes: int) -> "Codec":
        """The same with what was left open chosen for images (C, H, W) of a memory, all classes in so many bytes."""
        return self

    def working_shape(self, shape: Shape) -> Shape:
        """(C, h, w) to which images (C, H, W) are shrunk before they are encoded or condensed."""
        return shape

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Images (N · images_per_stored, C, h, w) -> values (N, C', H', W')."""

    @abstractmethod
    def decode(self, values: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
        """Training images of given numbers, of size (H, W): values (N, …), rows (M,) int64 -> (M, C, H, W)."""

    def settled(self, values: Tensor) -> Tensor:
        """Values (…, C', H', W') about as storing leaves them; their gradient passes as if they were left alone."""
        return values

    def bits(self, values: Tensor) -> tuple[Tensor, Tensor] | None:
        """What values (N, C', H', W') take as they are stored, about, or None where all images take as much.

        Returns:
            Bits of each image, (N,), and of one unit that a value grows by in magnitude, (N, C', H', W').
        """
        return None

    def store(self, values: Tensor) -> Stored:
        """Values (N, C', H', W') -> stored images."""
        return Packed.of(values, self.storage)

    def read(self, stored: Any, rows: Tensor) -> Tensor:
        """Values of stored images of given numbers: (M,) -> (M, C', H', W') float32."""
        return stored.values(rows)

    def stored_of(self, fields: dict[str, Any], shape: Shape) -> Stored:
        """Stored images of (C, H, W) from the fields of a file; ValueError unless they are what the codec stores."""
        return packed_of(fields, self.value_shape(shape), self.storage)

    def nbytes(self, shape: Shape) -> int:
        """Bytes of one stored image at most, where images are (C, H, W)."""
        return Packed.nbytes_of(self.value_shape(shape), self.storage)

    def usual_nbytes(self, shape: Shape) -> int:
        """Bytes of one stored image of a natural one, about, where each has its own."""
        return self.nbytes(shape)

    def few_nbytes(self, images: Tensor) -> int:
        """Bytes in which each of images like these (N, C, H, W) may be stored: few of them take less."""
        channels, height, width = images.shape[1:]
        return self.nbytes((channels, height, width))

    def value_shape(self, shape: Shape) -> Shape:
        """(C', H', W') of the values of one stored image, where images are (C, H, W)."""
        with torch.device("cpu"):
            images = torch.zeros(self.images_per_stored, *self.working_shape(shape))
        channels, height, width = self.encode(images).shape[1:]
        return channels, height, width

    def full(self, shape: Shape) -> bool:
        """Whether decoded images (C, H, W) are as they came, so that others need not be made as rough."""
        return False

    @property
    def plain(self) -> bool:
        """Whether values are the training images themselves."""
        return False

    def stored_as(self, storage: str) -> "Codec":
        """The same with values stored otherwise, where that can be chosen."""
        return self

    def or_stored_as(self, storage: str) -> "Codec":
        """The same with values stored so, where how is left open."""
        return self.stored_as(storage) if self.storage == "auto" else self

    def whole(self) -> "Codec":
        """What decodes a stored image of several training images as one picture of all of them."""
        return self

    def resample(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) as they would be if they were encoded and decoded, by default before any rounding.

        Raises:
            NotImplementedError: of a codec of several images in one that does not say it.
        """
        if self.images_per_stored > 1:
            raise NotImplementedError(f"{type(self).__name__} has to say how sharp one of its images is")
        size = images.shape[2:]
        return self.decode(self.encode(images), torch.arange(len(images), device=images.device), (size[0], size[1]))

    def patchwork(self, parts: Tensor) -> Tensor:
        """Values of one stored image, whose k-th training image is that of part k: (images_per_stored, …) -> (…).

        Raises:
            NotImplementedError: likewise.
        """
        if self.images_per_stored > 1:
            raise NotImplementedError(f"{type(self).__name__} has to say which values belong to which of its images")
        return parts[0]
