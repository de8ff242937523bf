"""What the share of a class is filled with: condensed images, real ones, or both."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..condensed.coded_set import CodedSet
from ..condensed.condensed_set import CondensedSet
from ..coresets.coded import BEST, shrunk
from ..coresets.herding import herded_by_class, random_embedding
from ..coresets.returning import evenly, kept_with_previous, new_among
from ..data.class_index import EVERY, ClassShard
from ..data.pool import TensorPool
from ..matching.config import CondenseConfig
from ..runtime.seeding import new_generator
from .standardize import AnySet, Standardization

__all__ = ["KINDS", "Kind", "merged"]

KINDS = ("condensed", "random", "herding", "webp")
SMALLEST = 112  # bytes in which WebP of 16 x 16 is still of middling quality (half of it are headers)
TOGETHER = 64  # images that are made bytes at a time
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
        if self.name != "condensed":
            return 0
        return ipc - min(math.floor(ipc * self.real_fraction + 0.5), max(0, ipc - 1))

    def mixed(self, condensed: CondensedSet, real: AnySet) -> CondensedSet:
        """Condensed and real images of the same classes as one set; any prefix of a class has as many real ones as a
        share of its length."""
        joined = merged([condensed, real])
        return replace(_reordered(joined, self._order), counts=condensed.counts)

    def unmixed(self, images: CondensedSet) -> tuple[CondensedSet, CondensedSet]:
        """A set of :meth:`mixed`, or prefixes of one, with the condensed images first, and its real ones alone."""
        sorted_ = _reordered(images, lambda length: self._order(length).argsort())
        real = _reordered(images, lambda length: self._order(length).argsort()[self.condensed(length) :])
        return sorted_, real

    def _order(self, ipc: int) -> Tensor:
        """(ipc,): where a class's images come from, if its condensed ones stand first and then the real ones."""
        real = torch.tensor([length - self.condensed(length) for length in range(ipc + 1)]).diff() > 0
        return torch.where(real, self.condensed(ipc) + real.cumsum(0), (~real).cumsum(0)) - 1

    def real(
        self,
        pool: TensorPool,
        classes: list[int],
        ipc: int,
        config: CondenseConfig,
        seed: int,
        space: Standardization,
        previous: AnySet | None = None,
        part: slice = EVERY,
    ) -> AnySet:
        """``ipc`` stored real images of each of these classes, best first, stored as ``config`` says or coded.

        A class of which ``previous`` holds some keeps of them what :func:`new_among` leaves. One with fewer images than
        a mosaic's tiles repeats them. ``space`` is what standardized the pool; coded ones are in the values before. Of
        the classes only ``part`` is made, as it is among all of them.
        """
        mine = pool.of_classes(classes[part])
        own = pool.select(mine)
        small = own.shrunk(*config.condensed_shape(own.shape)[1:])
        each = ipc if self.coded else ipc * config.decoder(pool.shape[0]).tiles
        if self.name == "random":
            drawn = pool.rows_of(ClassShard(torch.tensor(classes), part)).draw(each, new_generator(seed, "random"))
            rows = torch.searchsorted(mine, drawn)
        else:
            embed = random_embedding(small, config.network, seed, config.memory_budget)
            rows = herded_by_class(small, each, embed)
        if self.coded:
            return _with_previous(self.coded_images(own, rows, space), previous, own.counts, seed)
        assert not isinstance(previous, CodedSet)
        held = None if previous is None else previous.decoded_to(*small.shape[1:])
        images = kept_with_previous(small, small.take(rows), replace(config, ipc=ipc), seed, held)
        return images.decoded_to(*own.shape[1:])

    def coded_images(self, pool: TensorPool, rows: Tensor, space: Standardization) -> CodedSet:
        """The rows (K, ipc) of a standardized pool, of each class in order, as small files."""
        parts = [_as_bytes(space.undo(pool.take(part).cpu())) for part in rows.flatten().split(TOGETHER)]
        pixels, spans = (torch.cat(found) for found in zip(*parts, strict=True))
        return CodedSet.from_pixels(
            pixels,
            pool.classes.repeat_interleave(rows.shape[1]),
            self.name,
            BEST,
            shape=pool.shape,
            counts=pool.counts,
            enlarging="sharp",
            spans=spans,
            most=self.code_bytes(pool.shape),
        )


def _as_bytes(values: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 pixels of images (N, C, H, W), halved where they are not small, and what black and white are, (N, 2)."""
    spans = torch.stack([values.amin((1, 2, 3)), values.amax((1, 2, 3))], dim=1)
    low, high = spans[:, :, None, None, None].unbind(1)
    pixels = ((values - low) / (high - low).clamp_min(1e-6) * 255).round().clamp(0, 255).to(torch.uint8)
    return shrunk(pixels, 2 if min(values.shape[2:]) >= HALVED else 1), spans


def merged(parts: Sequence[AnySet]) -> Any:
    """Sets of one type as one."""
    return type(parts[0]).merge(parts)  # type: ignore[arg-type]


def _reordered(images: CondensedSet, order: Callable[[int], Tensor]) -> CondensedSet:
    """The images of each class in the order (M,) that ``order`` gives for their number."""
    own = [(images.labels == label).nonzero()[:, 0] for label in images.classes]
    return images.select(torch.cat([rows[order(len(rows))] for rows in own]))


def _with_previous(new: CodedSet, previous: AnySet | None, counts: Tensor, seed: int) -> CodedSet:
    """As many images of each class as ``new`` has, some of them previous ones; ``counts`` are the new real images."""
    known = set() if previous is None else set(previous.classes.tolist())
    classes: list[Any] = []
    for label, count in zip(new.classes.tolist(), counts.tolist(), strict=True):
        own: Any = new.of_class(label)
        if label in known:
            old: Any = previous.of_class(label)  # type: ignore[union-attr]
            many = new_among(len(own), 1, label, count, old, seed)
            kept = len(own) - many
            joined = merged([own.prefix(many), old.prefix(kept)]).select(evenly(many, kept))
            own = replace(joined, counts=count + old.counts)
        classes.append(own)
    return merged(classes)
