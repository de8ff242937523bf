"""TensorPool: labelled real images, ready to be drawn class by class."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["TensorPool"]


class TensorPool:
    """Real images (N, C, H, W) with labels (N,), normalised when they are drawn.

    Args:
        images: uint8 pixels, which keep a quarter of the bytes, or already normalised floats.
        labels: (N,) integers; gaps are allowed and kept.
        mean, std: per channel in units of [0, 1]; uint8 pixels are drawn as (pixel / 255 − mean) / std. For float
            images they are only remembered, so that pictures can show real pixel values.
        names: class names by label, if known.

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
    ):
        labels = torch.as_tensor(labels).long().cpu()
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"expected images (N, C, H, W) and labels (N,), got {tuple(images.shape)}, {tuple(labels.shape)}"
            )
        if len(labels) == 0:
            raise ValueError("expected at least one image, got none")
        if images.dtype != torch.uint8:
            images = images.float()
            _check_finite(images, labels)
        channels = images.shape[1]
        for name, values in (("mean", mean), ("std", std)):
            if values is not None and len(values) != channels:
                raise ValueError(f"expected {channels} values of {name}, one for each channel, got {len(values)}")
        self.images, self.labels = images, labels
        self.mean = None if mean is None else tuple(map(float, mean))
        self.std = None if std is None else tuple(map(float, std))
        self.names = None if names is None else tuple(names)
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
        return TensorPool(self.images.to(device), self.labels, self.mean, self.std, self.names)

    def subset(self, classes: Iterable[int]) -> "TensorPool":
        """The images of some classes."""
        rows = torch.isin(self.labels, self._known(classes)).nonzero()[:, 0]
        return TensorPool(self.images[rows.to(self.device)], self.labels[rows], self.mean, self.std, self.names)

    def counts_of(self, classes: Iterable[int]) -> Tensor:
        """(G,) how many images each of some classes has."""
        return self.counts[torch.searchsorted(self.classes, self._known(classes))]

    def normalise(self, images: Tensor) -> Tensor:
        """Stored pixels (…, C, H, W) -> float32 values as networks see them."""
        if images.dtype != torch.uint8:
            return images
        mean, std = (
            torch.tensor(values or default, device=images.device)[:, None, None]
            for values, default in ((self.mean, [0.0] * self.shape[0]), (self.std, [1.0] * self.shape[0]))
        )
        return images.float() * (1 / (255 * std)) - mean / std

    def take(self, indices: Tensor) -> Tensor:
        """Normalised images of any shape of indices: (…,) -> (…, C, H, W) float32."""
        return self.normalise(self.raw(indices))

    def raw(self, indices: Tensor) -> Tensor:
        """Stored pixels of any shape of indices: (…,) -> (…, C, H, W)."""
        rows = self.images.index_select(0, indices.reshape(-1).to(self.device))
        return rows.reshape(*indices.shape, *self.shape)

    def draw(self, classes: Iterable[int], per_class: int, generator: torch.Generator) -> Tensor:
        """Random real images of each class without replacement: (G, B, C, H, W) float32, normalised."""
        return self.take(self.draw_indices(classes, per_class, generator))

    def draw_indices(self, classes: Iterable[int], per_class: int, generator: torch.Generator) -> Tensor:
        """The indices behind :meth:`draw`, (G, B) int64 on the CPU.

        One random key for each image of the classes; the B smallest win. A class with fewer than B images gives all
        of them, repeated evenly.
        """
        position = torch.searchsorted(self.classes, self._known(classes))
        counts, first = self.counts[position], self._first[position]
        longest = int(counts.max())
        keys = torch.rand(len(position), longest, generator=generator, device=generator.device).cpu()
        keys.masked_fill_(torch.arange(longest) >= counts[:, None], 2.0)
        winners = keys.topk(min(per_class, longest), largest=False, sorted=True).indices
        turns = torch.arange(per_class) % counts[:, None].clamp_max(per_class)
        return self._by_class[first[:, None] + winners.gather(1, turns)]

    def _known(self, classes: Iterable[int]) -> Tensor:
        classes = torch.as_tensor(classes if isinstance(classes, Tensor) else list(classes)).long().cpu()
        absent = classes[~torch.isin(classes, self.classes)]
        if len(absent):
            raise ValueError(f"class {int(absent[0])} has no images; the pool holds {_listed(self.classes.tolist())}")
        return classes


def _check_finite(images: Tensor, labels: Tensor) -> None:
    bad = (~images.isfinite().flatten(1).all(1)).nonzero()[:, 0]
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
