"""ByClass: what all sets have that keep images in an order of their own within each class."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from ..runtime.engine import cpu_by_default

__all__ = ["ByClass", "added_counts"]

Self = TypeVar("Self", bound="ByClass")


@cpu_by_default
class ByClass(ABC):
    """Stored images with labels (N,) and, for each class, the number of real images it stands for, ``counts`` (K,)."""

    labels: Tensor
    counts: Tensor

    @abstractmethod
    def select(self: Self, rows: Tensor) -> Self:
        """The stored images of the given indices (M,), in that order; classes that lose all their images are gone."""

    @property
    def classes(self) -> Tensor:
        """(K,) int64, sorted; gaps are kept."""
        return self.labels.unique()

    def __len__(self) -> int:
        return len(self.labels)

    def prefix(self: Self, length: int | Mapping[int, int]) -> Self:
        """The first ``length`` stored images of every class (or of each class named, the others whole), in place."""
        lengths = length if isinstance(length, Mapping) else dict.fromkeys(self.classes.tolist(), length)
        limit = torch.tensor([int(lengths.get(label, len(self))) for label in self.labels.tolist()])
        return self.select((self._rank() < limit).nonzero()[:, 0])

    def of_class(self: Self, label: int) -> Self:
        """The images of one class."""
        return self.select((self.labels == label).nonzero()[:, 0])

    def _rank(self) -> Tensor:
        """(N,): how many images of the same class stand before each."""
        order = self.labels.argsort(stable=True)
        sizes = self.labels.unique(return_counts=True)[1]
        first = sizes.cumsum(0) - sizes
        rank = torch.empty_like(self.labels)
        rank[order] = torch.arange(len(self)) - first.repeat_interleave(sizes)
        return rank


def added_counts(sets: Sequence[ByClass], classes: Tensor) -> Tensor:
    """How many real images each of these classes stands for in all sets together."""
    counts = torch.zeros_like(classes)
    for part in sets:
        counts[torch.searchsorted(classes, part.classes)] += part.counts
    return counts
