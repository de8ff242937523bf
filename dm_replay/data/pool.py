"""TensorPool: labelled real images, ready to be drawn class by class."""

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..runtime.hardware import cpu_by_default
from .arrays import mapped_images
from .classes import ClassIndex, ClassRows, ClassShard, class_labels
from .image_files import pixels_of
from .pixels import ChannelMap, averaged, check_finite, check_normalization, check_planar, planar, together

__all__ = ["TensorPool"]

EMPTY = "expected at least one image, got none"


@cpu_by_default
class TensorPool:
    """Real images (N, C, H, W) with labels (N,), normalized when they are drawn.

    Args:
        images: uint8 pixels, which keep a quarter of the bytes, or already normalized floats.
        labels: (N,) whole numbers from 0, see :func:`class_labels`; gaps are allowed and kept.
        mean, std: per channel in units of [0, 1]; uint8 pixels are drawn as (pixel / 255 − mean) / std. For float
            images they are only remembered, so that pictures can show real pixel values.
        names: class names by label, if known.
        flip_invariant: whether a mirror image means the same; of digits and letters it does not.
        rows: (N,) where each labelled image lies in ``images``; the same place by default. With them a part of a pool
            needs no copy of its pixels.
        mapped: ``images`` is a map of a file (see :meth:`map`). No method reads more of it than it is asked for.

    Attributes:
        index: the images by class. The pixels may lie elsewhere, on a device or in a file.

    Raises:
        ValueError: for no images, shapes that do not belong together, pixels of another type, NaN or infinite values.

    >>> import torch
    >>> from dm_replay import TensorPool
    >>> images = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    >>> pool = TensorPool(images, [3, 3, 3, 7, 7, 7], mean=[0.5] * 3, std=[0.25] * 3)
    >>> pool.classes.tolist(), pool.counts.tolist()
    ([3, 7], [3, 3])
    >>> pool.draw([3, 7], 2, torch.Generator().manual_seed(0)).shape  # classes, images of each, C, H, W
    torch.Size([2, 2, 3, 8, 8])
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor | Sequence[int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
        *,
        flip_invariant: bool = True,
        rows: Tensor | None = None,
        mapped: bool = False,
    ):
        labels = class_labels(labels)
        if images.ndim != 4 or labels.shape != (images if rows is None else rows).shape[:1]:
            got = f"{tuple(images.shape)}, {tuple(labels.shape)}"
            raise ValueError(f"expected images (N, C, H, W) and labels (N,), got {got}")
        if len(labels) == 0:
            raise ValueError(EMPTY)
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"expected images as uint8 pixels or normalized floats, got {images.dtype}")
        if images.dtype != torch.uint8:
            if mapped:
                raise ValueError(f"expected a map of uint8 pixels, got {images.dtype}")
            images = images.float()
            check_finite(images, labels)
        channels = images.shape[1]
        check_planar(images.shape[1:])
        check_normalization(channels, mean, std)
        self.images, self.labels, self.mapped, self._rows = images, labels, mapped, rows
        self.mean = None if mean is None else tuple(map(float, mean))
        self.std = None if std is None else tuple(map(float, std))
        self.names = None if names is None else tuple(names)
        self.flip_invariant = flip_invariant
        given = self.mean or (0.0,) * channels, self.std or (1.0,) * channels
        self._map = ChannelMap(*given) if images.dtype == torch.uint8 else None
        self._size: tuple[int, int] | None = None  # what drawn images are shrunk to
        self.index = ClassIndex(labels)

    @classmethod
    def from_dataset(
        cls, dataset: Iterable, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> "TensorPool":
        """Read every (image, label, …) item once.

        Images are tensors (C, H, W), arrays (C, H, W), (H, W, C) or (H, W), or PIL images, which are kept as uint8.

        Raises:
            ValueError: for PIL images of 32 bits a channel, images of unequal size, arrays of which it cannot be told
                which axis holds the channels, labels that are not whole.
        """
        images, labels, arrays = list[Tensor](), list[Any](), False
        for image, label, *_ in dataset:
            arrays = not isinstance(image, Tensor | Image.Image)
            pixels = pixels_of(image) if isinstance(image, Image.Image) else np.array(image) if arrays else image
            images.append(torch.as_tensor(pixels))
            labels.append(label.item() if isinstance(label, Tensor | np.ndarray | np.generic) else label)
            first, last = images[0].shape, images[-1].shape
            if last != first:
                sizes = f"item {len(images) - 1} is {tuple(last)}, the first {tuple(first)}"
                raise ValueError(f"images of unequal size: {sizes}")
        if not images:
            raise ValueError("expected at least one image, got an empty dataset")
        whole = torch.stack(images)
        return cls(planar(whole, "arrays of a dataset").contiguous() if arrays else whole, labels, mean, std)

    @classmethod
    def map(
        cls,
        images: str | Path,
        labels: Tensor | Sequence[int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ) -> "TensorPool":
        """The images of an .npy file of uint8 pixels, which may be larger than memory; read when they are drawn."""
        return cls(mapped_images(images), labels, mean, std, names, mapped=True)

    @property
    def classes(self) -> Tensor:
        """(K,) the labels present, sorted."""
        return self.index.classes

    @property
    def counts(self) -> Tensor:
        """(K,) how many images each class has."""
        return self.index.counts

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, *size = self.images.shape[1:]
        height, width = self._size or size
        return channels, height, width

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "TensorPool":
        """The same pool with its pixels on ``device``; labels and indices stay on the CPU."""
        if torch.device(device) == self.device:
            return self
        as_drawn = self._rows is None and self._size is None
        return self._alike((self.images if as_drawn else self.raw(torch.arange(len(self)))).to(device), self.labels)

    def subset(self, classes: Iterable[int]) -> "TensorPool":
        """The images of some classes: copied, but those of a mapped pool."""
        part = self.select(self.of_classes(classes))
        return part if self.mapped else self._alike(part.raw(torch.arange(len(part))), part.labels)

    def of_classes(self, classes: Iterable[int]) -> Tensor:
        """(M,) the numbers of the images of some classes."""
        return torch.isin(self.labels, self.index.known(classes)).nonzero()[:, 0]

    def select(self, rows: Tensor) -> "TensorPool":
        """The images of given numbers (M,), in that order. Its pixels are shared: its ``images`` are all of them."""
        places = rows.to(self.device) if self._rows is None else self._rows[rows.to(self._rows.device)]
        return self._alike(self.images, self.labels[rows], rows=places, mapped=self.mapped)

    def shrunk(self, height: int, width: int) -> "TensorPool":
        """The same images at a smaller size, by averaging, a copy; those of a mapped pool are shrunk when drawn."""
        if (height, width) == self.shape[1:]:
            return self
        if self.mapped:
            twin = copy.copy(self)
            twin._size = height, width
            return twin
        parts = torch.arange(len(self)).split(together(self.shape))
        images = torch.cat([averaged(self.raw(part), (height, width)) for part in parts])
        return self._alike(images, self.labels)

    def standardized(self, mean: Sequence[float], std: Sequence[float]) -> "TensorPool":
        """The same pool with (x − mean) / std per channel of what it gives; its pixels are shared."""
        twin, channels = copy.copy(self), self.shape[0]
        twin._map = (self._map or ChannelMap((0.0,) * channels, (1.0,) * channels)).then(mean, std)
        pixels = self.images.dtype == torch.uint8
        twin.mean, twin.std = (twin._map.mean, twin._map.std) if pixels else (None, None)
        return twin

    def normalize(self, images: Tensor) -> Tensor:
        """Stored pixels (…, C, H, W) -> float32 values as networks see them."""
        return images if self._map is None else self._map(images)

    def take(self, indices: Tensor) -> Tensor:
        """Normalized images of any shape of indices: (…,) -> (…, C, H, W) float32."""
        return self.normalize(self.raw(indices))

    def raw(self, indices: Tensor) -> Tensor:
        """Stored pixels of any shape of indices: (…,) -> (…, C, H, W).

        Raises:
            ValueError: for an image whose pixels were left behind by :meth:`resident`.
        """
        if self._rows is not None and bool((self._rows[indices.to(self._rows.device)] < 0).any()):
            raise ValueError("the pixels of some of these images were left behind: see resident()")
        return self.gather(indices)

    def gather(self, indices: Tensor) -> Tensor:
        """As :meth:`raw`, unchecked and without waiting for the device."""
        places = indices.reshape(-1)
        if self._rows is not None:
            places = self._rows[places.to(self._rows.device)]
        found = self.images.index_select(0, places.to(self.device))
        return (averaged(found, self._size) if self._size else found).reshape(*indices.shape, *self.shape)

    def draw(self, classes: Iterable[int], per_class: int, generator: torch.Generator) -> Tensor:
        """Random real images of each class without replacement: (G, B, C, H, W) float32, normalized."""
        return self.take(self.draw_indices(classes, per_class, generator))

    def draw_indices(self, classes: Iterable[int], per_class: int, generator: torch.Generator) -> Tensor:
        """The indices behind :meth:`draw`, (G, B) int64 on the generator's device."""
        return self.rows_of(ClassShard(self.index.known(classes)), generator.device).draw(per_class, generator)

    def rows_of(self, shard: ClassShard, device: torch.device | str = "cpu") -> ClassRows:
        """Where the images of a shard's classes lie, for draws on ``device``."""
        return self.index.rows_of(shard, device)

    def resident(self, classes: Iterable[int], device: torch.device | str) -> "TensorPool":
        """The same pool, draws and all, with the pixels of some classes on ``device``; it has those of no others."""
        kept, places = self.of_classes(classes), torch.full_like(self.labels, -1)
        places[kept] = torch.arange(len(kept))
        return self._alike(self.raw(kept).to(device), self.labels, rows=places.to(device))

    def _alike(self, images: Tensor, labels: Tensor, rows: Tensor | None = None, mapped: bool = False) -> "TensorPool":
        """A pool of this one's images, or of some, which it gives in the same values."""
        if len(labels) == 0:
            raise ValueError(EMPTY)
        pool = copy.copy(self)
        pool._size = self._size if images is self.images else None
        pool.images, pool.labels, pool._rows, pool.mapped = images, labels, rows, mapped
        pool.index = ClassIndex(labels)
        return pool
