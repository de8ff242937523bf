"""Where the images of each class lie, and which classes a process takes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["ClassIndex", "ClassRows", "ClassShard"]

EVERY = slice(None)
Rows = TypeVar("Rows")


@dataclass(frozen=True, eq=False)
class ClassShard:
    """The classes that are condensed together, and which of them this process condenses.

    What is drawn for a class does not depend on the shard, so processes that share the classes out make what one alone
    would make.

    Attributes:
        classes: (A,) all of them, sorted. part: which of these are taken here.
    """

    classes: Tensor
    part: slice = field(default_factory=lambda: EVERY)

    def __post_init__(self):
        if len(self.classes) == 0:
            raise ValueError("expected at least one class, got none")
        if len(self.mine) == 0:
            raise ValueError(
                f"no class for this process: {len(self.classes)} classes are too few for so many processes"
            )

    @property
    def mine(self) -> Tensor:
        """(G,) the classes of this process."""
        return self.classes[self.part]

    @property
    def whole(self) -> bool:
        return len(self.mine) == len(self.classes)

    def take(self, rows: Rows) -> Rows:
        """This process's rows of a tensor, or of a named tuple of tensors, that has one row for each class."""
        if isinstance(rows, tuple):
            return type(rows)(*map(self.take, rows))
        return rows[self.part]  # type: ignore[index]


@dataclass(frozen=True, eq=False)
class ClassRows:
    """Where the images of some classes lie in a pool: all that a draw needs, on the device where it is made.

    Attributes:
        rows: (N,) indices into the pool, class by class. first, counts: (G,), the range of each class of the shard.
        longest: images of the largest of all the shard's classes, this process's or not.
    """

    rows: Tensor
    first: Tensor
    counts: Tensor
    longest: int
    shard: ClassShard

    def draw(self, per_class: int, generator: torch.Generator) -> Tensor:
        """Random indices of each class without replacement: (G, B) int64.

        One random key for each image of the classes; the B smallest win. A class with fewer than B images gives all
        of them, repeated as evenly as B allows.
        """
        device = self.rows.device
        keys = torch.rand(len(self.shard.classes), self.longest, generator=generator, device=device)
        keys = self.shard.take(keys)
        keys = keys.masked_fill(torch.arange(self.longest, device=device) >= self.counts[:, None], 2.0)
        winners = keys.topk(min(per_class, self.longest), largest=False, sorted=True).indices
        turns = torch.arange(per_class, device=device) % self.counts[:, None].clamp_max(per_class)
        return self.rows[self.first[:, None] + winners.gather(1, turns)]


class ClassIndex:
    """The images of a pool by class.

    Args:
        labels: (N,) int64; gaps are allowed and kept.

    Attributes:
        classes: (K,) the labels present, sorted. counts: (K,) the images of each.
    """

    def __init__(self, labels: Tensor):
        self.classes, self.counts = labels.unique(return_counts=True)
        self._rows = labels.argsort(stable=True)
        self._first = self.counts.cumsum(0) - self.counts

    def known(self, classes: Iterable[int]) -> Tensor:
        """Some classes as a tensor; ValueError names one that has no images."""
        classes = torch.as_tensor(classes if isinstance(classes, Tensor) else list(classes)).long().cpu()
        absent = classes[~torch.isin(classes, self.classes)]
        if len(absent):
            raise ValueError(f"class {int(absent[0])} has no images; the pool holds {_listed(self.classes.tolist())}")
        return classes

    def counts_of(self, classes: Iterable[int]) -> Tensor:
        """(G,) how many images each of some classes has."""
        return self.counts[torch.searchsorted(self.classes, self.known(classes))]

    def rows_of(self, shard: ClassShard, device: torch.device | str = "cpu") -> ClassRows:
        """Where the images of a shard's classes lie, for draws on ``device``."""
        position = torch.searchsorted(self.classes, self.known(shard.classes))
        mine, longest = shard.take(position), int(self.counts[position].max())
        rows, first, counts = (t.to(device) for t in (self._rows, self._first[mine], self.counts[mine]))
        return ClassRows(rows, first, counts, longest, shard)


def _listed(values: list[int], most: int = 10) -> str:
    return ", ".join(map(str, values[:most])) + (f", … ({len(values)} in all)" if len(values) > most else "")
