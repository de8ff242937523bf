"""What the share of a class is filled with: condensed images, real ones, or both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..condensed.by_class import ByClass
from ..condensed.coded_set import CodedSet
from ..coresets.coded import BEST, shrunk
from ..coresets.herding import herded_by_class, random_embedding
from ..coresets.random import kept
from ..data.class_index import ClassShard
from ..data.pool import TensorPool
from ..matching.config import CondenseConfig
from ..runtime.seeding import new_generator
from .standardize import AnySet, Standardization, Stored

__all__ = ["KINDS", "Kind", "interleaved", "merged", "with_previous"]

KINDS = ("condensed", "random", "herding", "webp")
SMALLEST = 112  # bytes in which WebP of 16 x 16 is still of middling quality (half of it are headers)
HALVED = 16  # pixels; smaller pictures are not halved before they are coded
PART = 20  # of the bytes of a raw image: at half size, what had the best accuracy of real images in the same bytes


@dataclass(frozen=True)
class Kind:
    """How many of a class's images are condensed, and which real ones are taken beside them.

    Attributes:
        name: "condensed"; or real images alone, "random" or "herding" (in features of a random network), or herded ones
            as "webp", from sides of 16 pixels on at half the size.
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

    @property
    def coded(self) -> bool:
        """Whether images are stored as files of codecs."""
        return self.name == "webp"

    def code_bytes(self, shape: tuple[int, int, int]) -> int:
        """That a coded image of raw ones (C, H, W) may take.

        Raises:
            ValueError: if raw ones take no more, or have channels that pictures do not have.
        """
        raw, most = math.prod(shape), max(SMALLEST, math.prod(shape) // PART)
        if most >= raw or shape[0] not in (1, 3):
            raise ValueError(f"images of {shape} cannot be kept as {self.name}: choose kind 'herding' or 'condensed'")
        return most

    def condensed(self, ipc: int) -> int:
        """How many of a class's ``ipc`` images are condensed; of a mixed share at least one."""
        return max(1, ipc - round(ipc * self.real_fraction)) if self.name == "condensed" else 0

    def real(
        self, pool: TensorPool, classes: list[int], ipc: int, config: CondenseConfig, seed: int, space: Standardization
    ) -> AnySet:
        """``ipc`` stored real images of each of these classes, best first, stored as ``config`` says or coded.

        A class with fewer images than a mosaic's tiles repeats them. ``space`` is what standardized the pool; coded
        ones are in the values before that.
        """
        own = pool.subset(classes)
        each = ipc if self.coded else ipc * config.decoder(pool.shape[0]).tiles
        if self.name == "random":
            rows = own.rows_of(ClassShard(own.classes)).draw(each, new_generator(seed, "random"))
        else:
            embed = random_embedding(own, config.network, seed)
            rows = herded_by_class(own, each, embed)
        if self.coded:
            return self._coded(own, rows, space)
        return kept(own, own.take(rows), replace(config, ipc=ipc), seed)

    def _coded(self, pool: TensorPool, rows: Tensor, space: Standardization) -> CodedSet:
        """The rows (K, ipc) of a standardized pool as small files."""
        values = space.undo(pool.take(rows.flatten()).cpu())
        spans = torch.stack([values.amin((1, 2, 3)), values.amax((1, 2, 3))], dim=1)
        low, high = spans[:, :, None, None, None].unbind(1)
        pixels = ((values - low) / (high - low).clamp_min(1e-6) * 255).round().clamp(0, 255).to(torch.uint8)
        return CodedSet.from_pixels(
            shrunk(pixels, 2 if min(pool.shape[1:]) >= HALVED else 1),
            pool.classes.repeat_interleave(rows.shape[1]),
            self.name,
            BEST,
            shape=pool.shape,
            counts=pool.counts,
            enlarging="sharp",
            spans=spans,
            most=self.code_bytes(pool.shape),
        )


def interleaved(first: Stored, second: Stored, counts: Tensor) -> Stored:
    """The images of two sets of the same classes, each class's spread evenly, so that any prefix keeps the mixture.

    >>> import torch
    >>> from dm_replay import CondensedSet
    >>> from dm_replay.replay.kinds import interleaved
    >>> ones = CondensedSet.from_images(torch.ones(4, 1, 2, 2), torch.zeros(4))
    >>> twos = CondensedSet.from_images(torch.full((2, 1, 2, 2), 2.0), torch.zeros(2))
    >>> interleaved(ones, twos, torch.tensor([9])).images[:, 0, 0, 0].tolist()
    [1.0, 2.0, 1.0, 1.0, 2.0, 1.0]
    """
    joined: Any = replace(merged([first, second]), counts=counts)
    places = torch.cat([_places(part) for part in (first, second)])
    order = places.argsort(stable=True)
    return joined.select(order[joined.labels[order].argsort(stable=True)])


def merged(parts: Sequence[AnySet]) -> Any:
    """Sets of one type as one."""
    return type(parts[0]).merge(parts)  # type: ignore[arg-type]


def with_previous(new: Stored, previous: Stored) -> Stored:
    """As many images of each class as ``new`` has, old and new ones by the real images that they stand for."""
    classes: list[Any] = []
    for label in new.classes.tolist():
        own: Any = new.of_class(label)
        if label in previous.classes.tolist():
            old = previous.of_class(label)
            counts = own.counts + old.counts
            many = min(len(old), round(len(own) * float(old.counts) / float(counts)), len(own) - 1)
            if many:
                own = interleaved(own.prefix(len(own) - many), old.prefix(many), counts)
            own = replace(own, counts=counts)
        classes.append(own)
    return merged(classes)


def _places(part: ByClass) -> Tensor:
    """(N,): where each image of a class stands in it, in (0, 1)."""
    places = torch.empty(len(part))
    for label in part.classes:
        rows = (part.labels == label).nonzero()[:, 0]
        places[rows] = (torch.arange(len(rows)) + 0.5) / len(rows)
    return places
