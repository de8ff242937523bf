"""The classes of images: labels as whole numbers, where the images of each class lie, and who takes which."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from ..runtime.hardware import cpu_by_default

__all__ = ["ByClass", "ClassIndex", "ClassRows", "ClassShard", "class_labels"]

EXACT = 2**53  # floats beyond it are no longer every whole number


def class_labels(labels: "Tensor | np.ndarray | Sequence[int]", where: object = "") -> Tensor:
    """Labels (N,) as int64 on the CPU, in memory of their own.

    Whole numbers of any type are taken; floats too where each of them is exactly whole, as some datasets keep them.

    Args:
        where: what the labels belong to (a file), for the error.

    Raises:
        ValueError: for a label that is negative, beyond int64 or not whole; it names the label and its image.
    """
    source = f"{where}: " if where else ""
    given = _as_tensor(labels, source)
    if given.dtype == torch.bool or given.dtype.is_complex:
        raise ValueError(f"{source}expected integer labels, got {str(given.dtype).removeprefix('torch.')}")
    whole = given.long()
    if given.is_floating_point():
        fits = (given.double().abs() < EXACT) & (given == whole)
        _refuse(given, ~fits, source, "is not a whole number")
    _refuse(given, whole < 0, source, "is beyond int64" if given.dtype == torch.uint64 else "is negative")
    return whole.clone()


def _as_tensor(labels: "Tensor | np.ndarray | Sequence[int]", source: str) -> Tensor:
    try:
        if isinstance(labels, np.ndarray):
            native = np.float64 if labels.dtype.kind == "f" else labels.dtype.newbyteorder("=")
            return torch.from_numpy(labels.astype(native))
        return torch.as_tensor(labels).detach().cpu()
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"{source}expected integer labels, got {kind} ({' '.join(str(error).split())})") from error


def _refuse(labels: Tensor, bad: Tensor, source: str, why: str) -> None:
    if bad.any():
        first = int(bad.flatten().nonzero()[0])
        value = labels.flatten()[first].item()
        label = f"{value:.6g}" if isinstance(value, float) else value
        raise ValueError(f"{source}label {label} of image {first} {why}; expected whole numbers from 0")


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
        return self.select((self.labels == label).nonzero()[:, 0])

    def by_class(self: Self) -> dict[int, Self]:
        return {label: self.of_class(label) for label in self.classes.tolist()}

    def _rank(self) -> Tensor:
        """(N,): how many images of the same class stand before each."""
        order = self.labels.argsort(stable=True)
        sizes = self.labels.unique(return_counts=True)[1]
        first = sizes.cumsum(0) - sizes
        rank = torch.empty_like(self.labels)
        rank[order] = torch.arange(len(self)) - first.repeat_interleave(sizes)
        return rank
