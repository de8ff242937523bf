"""TensorPool: labelled real images, ready to be drawn class by class."""

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .memmap import mapped_images

__all__ = ["EVERY", "ClassRows", "TensorPool"]

EVERY = slice(None)
FINITE_CHUNK = 256  # images; looking at all at once takes half as much memory again as they do


@dataclass(frozen=True)
class ClassRows:
    """Where the images of some classes lie in a pool: all that a draw needs, on the device where it is made.

    Attributes:
        rows: (N,) indices into the pool, class by class. first, counts: (G,), the range of each class of the shard.
        total, longest: how many classes draw together, and images of the largest of them.
        shard: which of these classes are wanted. What they draw does not depend on it.
    """

    rows: Tensor
    first: Tensor
    counts: Tensor
    total: int
    longest: int
    shard: slice

    def draw(self, per_class: int, generator: torch.Generator) -> Tensor:
        """Random indices of each class without replacement: (G, B) int64.

        One random key for each image of the classes; the B smallest win. A class with fewer than B images gives all
        of them, repeated as evenly as B allows.
        """
        device = self.rows.device
        keys = torch.rand(self.total, self.longest, generator=generator, device=device)[self.shard]
        keys = keys.masked_fill(torch.arange(self.longest, device=device) >= self.counts[:, None], 2.0)
        winners = keys.topk(min(per_class, self.longest), largest=False, sorted=True).indices
        turns = torch.arange(per_class, device=device) % self.counts[:, None].clamp_max(per_class)
        return self.rows[self.first[:, None] + winners.gather(1, turns)]


class TensorPool:
    """Real images (N, C, H, W) with labels (N,), normalized when they are drawn.

    Args:
        images: uint8 pixels, which keep a quarter of the bytes, or already normalized floats.
        labels: (N,) integers; gaps are allowed and kept.
        mean, std: per channel in units of [0, 1]; uint8 pixels are drawn as (pixel / 255 − mean) / std. For float
            images they are only remembered, so that pictures can show real pixel values.
        names: class names by label, if known.
        flip_invariant: whether a mirror image means the same; of digits and letters it does not.
        rows: (N,) where each labelled image lies in ``images``; the same place by default. With them a part of a
            mapped pool needs no copy of its pixels.
        mapped: ``images`` is a map of a file (see :meth:`map`). No method reads more of it than it is asked for.

    Attributes:
        classes: (K,) the labels present, sorted. counts: (K,) the images of each.
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
        labels = torch.as_tensor(labels).long().cpu()
        if images.ndim != 4 or labels.shape != (images if rows is None else rows).shape[:1]:
            raise ValueError(
                f"expected images (N, C, H, W) and labels (N,), got {tuple(images.shape)}, {tuple(labels.shape)}"
            )
        if len(labels) == 0:
            raise ValueError("expected at least one image, got none")
        if images.dtype != torch.uint8 and not images.is_floating_point():
            raise ValueError(f"expected images as uint8 pixels or normalized floats, got {images.dtype}")
        if images.dtype != torch.uint8:
            if mapped:
                raise ValueError(f"expected a map of uint8 pixels, got {images.dtype}")
            images = images.float()
            _check_finite(images, labels)
        channels = images.shape[1]
        for name, values in (("mean", mean), ("std", std)):
            if values is not None and len(values) != channels:
                raise ValueError(f"expected {channels} values of {name}, one for each channel, got {len(values)}")
        if std is not None and not min(std) > 0:
            raise ValueError(f"std must be above 0 in every channel, got {tuple(std)}")
        self.images, self.labels, self.mapped, self._rows = images, labels, mapped, rows
        self.mean = None if mean is None else tuple(map(float, mean))
        self.std = None if std is None else tuple(map(float, std))
        self.names = None if names is None else tuple(names)
        self.flip_invariant = flip_invariant
        self._affines: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self.classes, self.counts = labels.unique(return_counts=True)
        self._by_class = labels.argsort(stable=True)
        self._first = self.counts.cumsum(0) - self.counts

    @classmethod
    def from_dataset(
        cls, dataset: Iterable, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
    ) -> "TensorPool":
        """Read every (image, label, …) item once. Images are tensors (C, H, W), or PIL images kept as uint8."""
        images, labels = [], []
        for image, label, *_ in dataset:
            images.append(image if isinstance(image, Tensor) else _from_pil(image))
            labels.append(int(label))
            if images[-1].shape != images[0].shape:
                raise ValueError(
                    f"images of unequal size: item {len(images) - 1} is {tuple(images[-1].shape)}, "
                    f"the first {tuple(images[0].shape)}"
                )
        if not images:
            raise ValueError("expected at least one image, got an empty dataset")
        return cls(torch.stack(images), labels, mean, std)

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
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        return tuple(self.images.shape[1:])

    @property
    def device(self) -> torch.device:
        return self.images.device

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "TensorPool":
        """The same pool with its pixels on ``device``; labels and indices stay on the CPU."""
        if torch.device(device) == self.device:
            return self
        images = self.images if self._rows is None else self.images[self._rows]
        return TensorPool(images.to(device), self.labels, **self._about)

    def subset(self, classes: Iterable[int]) -> "TensorPool":
        """The images of some classes."""
        rows = torch.isin(self.labels, self._known(classes)).nonzero()[:, 0]
        labels = self.labels[rows]
        if self.mapped:
            places = rows if self._rows is None else self._rows[rows]
            return TensorPool(self.images, labels, rows=places, mapped=True, **self._about)
        return TensorPool(self.raw(rows), labels, **self._about)

    def standardized(self, mean: Sequence[float], std: Sequence[float]) -> "TensorPool":
        """The same pool with (x − mean) / std per channel of what it gives; uint8 pixels are shared, floats copied."""
        twin = copy.copy(self)
        if self.images.dtype == torch.uint8:
            shifts, scales = self.mean or [0.0] * self.shape[0], self.std or [1.0] * self.shape[0]
            twin.mean = tuple(shift + scale * m for shift, scale, m in zip(shifts, scales, mean, strict=True))
            twin.std = tuple(scale * s for scale, s in zip(scales, std, strict=True))
            twin._affines = {}
        else:
            center, spread = (torch.tensor(v, device=self.device)[:, None, None] for v in (mean, std))
            twin.images, twin.mean, twin.std = (self.images - center).div_(spread), None, None
        return twin

    def counts_of(self, classes: Iterable[int]) -> Tensor:
        """(G,) how many images each of some classes has."""
        return self.counts[torch.searchsorted(self.classes, self._known(classes))]

    def normalize(self, images: Tensor) -> Tensor:
        """Stored pixels (…, C, H, W) -> float32 values as networks see them."""
        if images.dtype != torch.uint8:
            return images
        scale, shift = self._affine(images.device)
        return images.float() * scale + shift

    def take(self, indices: Tensor) -> Tensor:
        """Normalized images of any shape of indices: (…,) -> (…, C, H, W) float32."""
        return self.normalize(self.raw(indices))

    def raw(self, indices: Tensor) -> Tensor:
        """Stored pixels of any shape of indices: (…,) -> (…, C, H, W)."""
        places = indices.reshape(-1)
        if self._rows is not None:
            places = self._rows[places.to(self._rows.device)]
        return self.images.index_select(0, places.to(self.device)).reshape(*indices.shape, *self.shape)

    def draw(self, classes: Iterable[int], per_class: int, generator: torch.Generator) -> Tensor:
        """Random real images of each class without replacement: (G, B, C, H, W) float32, normalized."""
        return self.take(self.draw_indices(classes, per_class, generator))

    def draw_indices(self, classes: Iterable[int], per_class: int, generator: torch.Generator) -> Tensor:
        """The indices behind :meth:`draw`, (G, B) int64 on the generator's device."""
        return self.rows_of(classes, device=generator.device).draw(per_class, generator)

    def rows_of(self, classes: Iterable[int], shard: slice = EVERY, device: torch.device | str = "cpu") -> ClassRows:
        """Where the images of some classes lie, for draws on ``device``."""
        position = torch.searchsorted(self.classes, self._known(classes))
        mine = position[shard]
        tensors = (self._by_class, self._first[mine], self.counts[mine])
        longest = int(self.counts[position].max())
        return ClassRows(*(t.to(device) for t in tensors), len(position), longest, shard)

    def resident(self, classes: Iterable[int], device: torch.device | str) -> "TensorPool":
        """The same pool, draws and all, with the pixels of some classes on ``device`` and those of no others."""
        kept = torch.isin(self.labels, self._known(classes)).nonzero()[:, 0]
        places = torch.zeros_like(self.labels)
        places[kept] = torch.arange(len(kept))
        images = self.raw(kept).to(device)
        return TensorPool(images, self.labels, rows=places.to(device), **self._about)

    @property
    def _about(self) -> dict[str, Any]:
        """What a pool made from this one's images takes over."""
        return {"mean": self.mean, "std": self.std, "names": self.names, "flip_invariant": self.flip_invariant}

    def _affine(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """What normalizes pixels on a device, (C, 1, 1) each; made once, since making it waits for the device."""
        if device not in self._affines:
            mean, std = (
                torch.tensor(values or default)[:, None, None]
                for values, default in ((self.mean, [0.0] * self.shape[0]), (self.std, [1.0] * self.shape[0]))
            )
            self._affines[device] = (1 / (255 * std)).to(device), (-mean / std).to(device)
        return self._affines[device]

    def _known(self, classes: Iterable[int]) -> Tensor:
        classes = torch.as_tensor(classes if isinstance(classes, Tensor) else list(classes)).long().cpu()
        absent = classes[~torch.isin(classes, self.classes)]
        if len(absent):
            raise ValueError(f"class {int(absent[0])} has no images; the pool holds {_listed(self.classes.tolist())}")
        return classes


def _check_finite(images: Tensor, labels: Tensor) -> None:
    finite = [part.isfinite().flatten(1).all(1) for part in images.split(FINITE_CHUNK)]
    bad = (~torch.cat(finite)).nonzero()[:, 0]
    if len(bad):
        first = int(bad[0])
        raise ValueError(
            f"{len(bad)} images hold NaN or infinite values, the first is image {first} of class {int(labels[first])}"
        )


def _from_pil(image) -> Tensor:
    pixels = np.atleast_3d(np.asarray(image))
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _listed(values: list[int], most: int = 10) -> str:
    return ", ".join(map(str, values[:most])) + (f", … ({len(values)} in all)" if len(values) > most else "")
