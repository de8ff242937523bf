"""Images in an order of their own within each class."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from ..runtime.engine import cpu_by_default

__all__ = ["ByClass"]

Self = TypeVar("Self", bound="ByClass")


@cpu_by_default
class ByClass:
    """What a set can do that has labels (N,) and can pick of its images."""

    labels: Tensor

    @abstractmethod
    def select(self: Self, rows: Tensor) -> Self:
        """The stored images of the given numbers (M,), in that order."""

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

    def by_class(self: Self) -> dict[int, Self]:
        """Each class's images by label."""
        return {label: self.of_class(label) for label in self.classes.tolist()}

    def _rank(self) -> Tensor:
        """(N,): how many images of the same class stand before each."""
        order = self.labels.argsort(stable=True)
        sizes = self.labels.unique(return_counts=True)[1]
        first = sizes.cumsum(0) - sizes
        rank = torch.empty_like(self.labels)
        rank[order] = torch.arange(len(self)) - first.repeat_interleave(sizes)
        return rank
