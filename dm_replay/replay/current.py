"""TensorLoader: mini-batches of images that lie together on a device, all of one augmented at once."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..runtime.hardware import cpu_by_default
from ..runtime.seeding import new_generator
from .standardize import to_dtype

__all__ = ["CropFlip", "TensorLoader"]


@cpu_by_default
@dataclass(frozen=True)
class CropFlip:
    """Crops of padded images and mirror images of a whole mini-batch, distributed as torchvision's transforms.

    They are those of ``RandomCrop(size, padding)`` and ``RandomHorizontalFlip()``, each image's drawn on its own.

    Args:
        padding: pixels added on each side before an image of the old size is cut out. flip: whether half are mirrored.

    >>> import torch
    >>> from dm_replay.replay.current import CropFlip
    >>> augment, generator = CropFlip.parse("crop4_flip"), torch.Generator().manual_seed(0)
    >>> images = torch.rand(5, 3, 32, 32)
    >>> augment.apply(images, *augment.sample(5, generator), fill=torch.zeros(3)).shape
    torch.Size([5, 3, 32, 32])
    """

    padding: int = 4
    flip: bool = True

    @classmethod
    def parse(cls, name: str) -> "CropFlip":
        """From "none", "flip", "crop4" or "crop4_flip", with any number of pixels.

        Raises:
            ValueError: for another name.
        """
        parts = re.fullmatch(r"none|(flip)|crop([0-9]+)(_flip)?", name)
        if parts is None:
            known = "none, flip, or crop with a number of pixels as in crop4 or crop4_flip"
            raise ValueError(f"expected {known}, got {name!r}")
        return cls(int(parts[2] or 0), bool(parts[1] or parts[3]))

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where each crop begins in the padded image, (N, 2) by row and column, and which are mirrored, (N,)."""
        corners = torch.randint(0, 2 * self.padding + 1, (count, 2), generator=generator)
        return corners, torch.rand(count, generator=generator) < (0.5 if self.flip else 0.0)

    def apply(self, images: Tensor, corners: Tensor, mirrored: Tensor, fill: Tensor) -> Tensor:
        """(N, C, H, W) of any type -> the same; ``fill`` (C,) is the value of padding."""
        number, channels, height, width = images.shape
        p = self.padding
        padded = fill[:, None, None].expand(number, channels, height + 2 * p, width + 2 * p).clone()
        padded[:, :, p : p + height, p : p + width] = images
        rows = corners[:, :1] + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device).expand(number, width)
        columns = corners[:, 1:] + torch.where(mirrored[:, None], columns.flip(1), columns)
        image, channel = torch.arange(number, device=images.device), torch.arange(channels, device=images.device)
        return padded[
            image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None]
        ]


@cpu_by_default
class TensorLoader:
    """Mini-batches of real images (N, C, H, W) with labels (N,) and, if they have them, tasks (N,).

    Each pass has an order and augmentation of its own.

    Args:
        pixel: type of the images in mini-batches, by default that given.
        black: (C,), the value of padding; by default the darkest that each channel has.
        seed: of the passes; the same seed gives the same ones.

    >>> import torch
    >>> from dm_replay.replay.current import CropFlip, TensorLoader
    >>> loader = TensorLoader(torch.rand(10, 1, 8, 8), torch.arange(10), batch_size=4, augment=CropFlip(1))
    >>> [len(labels) for images, labels in loader], len(loader)
    ([4, 4, 2], 3)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        tasks: Tensor | None = None,
        *,
        batch_size: int,
        augment: CropFlip | None = None,
        pixel: torch.dtype | None = None,
        black: Tensor | None = None,
        device: torch.device | str = "cpu",
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
    ):
        numbers = [labels] if tasks is None else [labels, tasks]
        self.images, *self.numbers = (part.to(device) for part in (images, *numbers))
        self.pixel, self.batch_size, self.augment = pixel or images.dtype, batch_size, augment
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.black = self.images.amin((0, 2, 3)) if black is None else black.to(device)
        self.passes = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[Tensor]]:
        generator = new_generator(self.seed, "current", self.passes)
        self.passes += 1
        for rows in self._order(generator).to(self.images.device).split(self.batch_size)[: len(self)]:
            yield [self._augmented(self.images[rows], generator), *(part[rows] for part in self.numbers)]

    def _order(self, generator: torch.Generator) -> Tensor:
        count = len(self.images)
        return torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.augment is not None:
            corners, mirrored = (part.to(images.device) for part in self.augment.sample(len(images), generator))
            images = self.augment.apply(images, corners, mirrored, self.black)
        return to_dtype(images, self.pixel)
