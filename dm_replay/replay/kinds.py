"""What the share of a class is filled with: condensed images, real ones, or both."""

from dataclasses import dataclass, replace

import torch

from ..condensed.condensed_set import CondensedSet
from ..coresets.herding import herded_by_class, random_embedding
from ..coresets.random import kept
from ..data.class_index import ClassShard
from ..data.pool import TensorPool
from ..matching.config import CondenseConfig
from ..runtime.seeding import new_generator

__all__ = ["KINDS", "Kind", "interleaved", "with_previous"]

KINDS = ("condensed", "random", "herding")


@dataclass(frozen=True)
class Kind:
    """How many of a class's images are condensed, and which real ones are taken beside them.

    Attributes:
        name: "condensed"; or real images alone, "random" or "herding" (in features of a random network).
        real_fraction: of condensed kinds, the part of a class's images that are herded real ones.
    """

    name: str = "condensed"
    real_fraction: float = 0.0

    def __post_init__(self):
        if self.name not in KINDS:
            raise ValueError(f"unknown kind {self.name!r}; choose from {', '.join(KINDS)}")
        if not 0 <= self.real_fraction < 1 or (self.real_fraction and self.name != "condensed"):
            raise ValueError(
                f"real_fraction is the part of real images beside condensed ones, from 0 to below 1, "
                f"got {self.real_fraction} for kind {self.name}"
            )

    def condensed(self, ipc: int) -> int:
        """How many of a class's ``ipc`` images are condensed; of a mixed share at least one."""
        return max(1, ipc - round(ipc * self.real_fraction)) if self.name == "condensed" else 0

    def real(self, pool: TensorPool, classes: list[int], ipc: int, config: CondenseConfig, seed: int) -> CondensedSet:
        """``ipc`` stored real images of each of these classes, best first, stored as ``config`` says.

        A class with fewer images than a mosaic's tiles repeats them.
        """
        own = pool.subset(classes)
        each = ipc * config.decoder(pool.shape[0]).tiles
        if self.name == "random":
            rows = own.rows_of(ClassShard(own.classes)).draw(each, new_generator(seed, "random"))
        else:
            embed = random_embedding(own, config.network, seed)
            rows = herded_by_class(own, each, embed)
        return kept(own, own.take(rows), replace(config, ipc=ipc), seed)


def interleaved(first: CondensedSet, second: CondensedSet, counts: torch.Tensor) -> CondensedSet:
    """The images of two sets of the same classes, each class's spread evenly, so that any prefix keeps the mixture.

    >>> import torch
    >>> from dm_replay import CondensedSet
    >>> from dm_replay.replay.kinds import interleaved
    >>> ones = CondensedSet.from_images(torch.ones(4, 1, 2, 2), torch.zeros(4))
    >>> twos = CondensedSet.from_images(torch.full((2, 1, 2, 2), 2.0), torch.zeros(2))
    >>> interleaved(ones, twos, torch.tensor([9])).images[:, 0, 0, 0].tolist()
    [1.0, 2.0, 1.0, 1.0, 2.0, 1.0]
    """
    joined = replace(CondensedSet.merge([first, second]), counts=counts)
    places = torch.cat([_places(part) for part in (first, second)])
    order = places.argsort(stable=True)
    return joined.select(order[joined.labels[order].argsort(stable=True)])


def with_previous(new: CondensedSet, previous: CondensedSet) -> CondensedSet:
    """As many images of each class as ``new`` has, old and new ones by the real images that they stand for."""
    classes = []
    for label in new.classes.tolist():
        own = new.of_class(label)
        if label in previous.classes.tolist():
            old = previous.of_class(label)
            counts = own.counts + old.counts
            many = min(len(old), round(len(own) * float(old.counts) / float(counts)), len(own) - 1)
            if many:
                own = interleaved(own.prefix(len(own) - many), old.prefix(many), counts)
            own = replace(own, counts=counts)
        classes.append(own)
    return CondensedSet.merge(classes)


def _places(part: CondensedSet) -> torch.Tensor:
    """(N,): where each image of a class stands in it, in (0, 1)."""
    places = torch.empty(len(part))
    for label in part.classes:
        rows = (part.labels == label).nonzero()[:, 0]
        places[rows] = (torch.arange(len(rows)) + 0.5) / len(rows)
    return places
