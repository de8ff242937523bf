"""Real images that wait in a memory to be condensed: the last stored ones of their class, coded like the rest.

A class's first images are kept as they come. Once they fill their place, each new one takes the place of one of them by
chance, so that those held are a fair draw from all that came (reservoir sampling, Vitter 1985).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..condensed.coded_set import CodedSet
from ..condensed.condensed_set import CondensedSet
from ..coresets.random import about_pool
from ..data.pool import TensorPool
from ..matching.config import CondenseConfig
from ..runtime.seeding import new_generator
from .kinds import Kind, merged
from .standardize import AnySet, Standardization

__all__ = ["Waiting", "WaitingRoom", "cut", "kept_rows", "with_arrived"]

Group = tuple[int, int]  # task, class
GROWTH = 0.5  # of the real images that a class stands for: as many new ones are worth condensing
FEWEST = 4  # stored images of a class, of which some can wait beside others


@dataclass(frozen=True)
class Waiting:
    """What waits of a class.

    Attributes:
        stored: stored images, the last ones of the class. images: different real ones among their training images.
        counts: real images that these were drawn from.
    """

    stored: int = 0
    images: int = 0
    counts: int = 0

    def fits(self, part: AnySet) -> bool:
        """Whether a class's images can hold them."""
        fewest, most = (self.stored - 1) * part.formation**2 + 1, self.stored * part.formation**2
        return 1 <= self.stored <= len(part) and fewest <= self.images <= min(most, self.counts, int(part.counts))


def cut(part: AnySet, waiting: Waiting, share: int) -> tuple[AnySet, Waiting]:
    """A class's images at a smaller share: a prefix of the condensed ones, and a draw of those that wait."""
    condensed, tiles = len(part) - waiting.stored, part.formation**2
    rows = kept_rows(condensed, waiting, share)
    kept = rows[rows >= condensed] - condensed
    images = int((waiting.images - kept * tiles).clamp_max(tiles).sum())
    return part.select(rows), Waiting(len(kept), images, waiting.counts if len(kept) else 0)


def kept_rows(condensed: int, waiting: Waiting, share: int) -> Tensor:
    """Numbers of a class's stored images that are left of so many condensed ones and those that wait behind them."""
    stored = min(waiting.stored, _place(share, condensed))
    drawn = torch.randperm(waiting.stored, generator=new_generator(waiting.counts, "cut", share))[:stored]
    return torch.cat([torch.arange(min(condensed, share - stored)), condensed + drawn.sort().values])


def _place(share: int, condensed: int) -> int:
    """Stored images of a share that may wait beside so many condensed ones: half of it, or what these leave."""
    return max(share // 2, share - condensed)


def with_arrived(
    beside: AnySet | None, waiting: Waiting, images: AnySet, room: int, generator: torch.Generator
) -> tuple[Any, Waiting]:
    """Those of a class that wait once new images have come; None where there is no room.

    Args:
        beside: those that waited. images: the new ones, stored alike and one by one: where stored images have several
            tiles, those of one are all the same image.
        room: stored images that may wait.
    """
    tiles, slots, counts = images.formation**2, list(range(waiting.images)), waiting.counts
    for new in range(len(images)):
        counts += 1
        if len(slots) < room * tiles:
            slots.append(waiting.images + new)
        elif (slot := int(torch.randint(counts, (), generator=generator))) < len(slots):
            slots[slot] = waiting.images + new
    if not slots:
        return None, Waiting()
    if isinstance(images, CondensedSet):
        assert not isinstance(beside, CodedSet)
        found: AnySet = _patched(beside, waiting, images, slots)
    else:
        found = (images if beside is None else merged([beside, images])).select(torch.tensor(slots))
    return replace(found, counts=torch.tensor([counts])), Waiting(len(found), len(slots), counts)


def _patched(beside: CondensedSet | None, waiting: Waiting, images: CondensedSet, slots: list[int]) -> CondensedSet:
    """Old and new images by slot, a tile each; what stays where it was keeps its values. Empty tiles repeat others."""
    tiles, stored = images.decoder.tiles, []
    old, new = (torch.empty(0) if part is None else part.mosaics for part in (beside, images))
    for first in range(0, len(slots), tiles):
        filled = slots[first : first + tiles]
        own = [filled[tile % len(filled)] for tile in range(tiles)]
        parts = [old[slot // tiles] if slot < waiting.images else new[slot - waiting.images] for slot in own]
        stored.append(images.decoder.patchwork(torch.stack(parts)))
    return images.select(torch.zeros(len(stored), dtype=torch.long)).with_values(torch.stack(stored))


def _like(pool: TensorPool, images: Tensor, labels: Tensor) -> TensorPool:
    """Images in the values that a pool gives, with what it says of its own."""
    return TensorPool(images, labels, pool.mean, pool.std, pool.names, flip_invariant=pool.flip_invariant)


class WaitingRoom:
    """What waits in a memory while images arrive.

    Args:
        kind, config: how images are stored. space: in which they are coded.
        groups: all images of each class that the memory holds. waiting: which of them wait.
        arrived: real images of each class that came now.
    """

    def __init__(
        self,
        kind: Kind,
        config: CondenseConfig,
        space: Standardization,
        groups: Mapping[Group, AnySet],
        waiting: Mapping[Group, Waiting],
        arrived: Mapping[Group, TensorPool],
    ):
        self.kind, self.config, self.space = kind, config, space
        self.groups, self.arrived = groups, arrived
        joined = [*groups, *(group for group in arrived if group not in groups)]
        self._waiting = {group: waiting.get(group, Waiting()) for group in joined}
        self._new = {group: len(arrived[group]) if group in arrived else 0 for group in joined}
        self._shape = next(iter(arrived.values())).shape
        self._tiles = 1 if kind.coded else config.decoder(self._shape[0]).tiles

    def limits(self, size: int | None) -> dict[Group, int]:
        """Stored images of each class that came: as many as came and are held of it.

        Of ``size`` in all no class takes more than it is of all that came. What has just begun takes little of the
        memory so, and of what is replayed beside it.
        """
        every = {group: self._before(group) + self._since(group) for group in self._waiting}
        total = sum(every.values())
        wanted = {group: self._condensed(group) + self._stored(group) for group in self.arrived}
        if size is None:
            return wanted
        return {group: min(many, -(-size * every[group] // total)) for group, many in wanted.items()}

    def ready(self, sizes: Mapping[Group, int]) -> list[Group]:
        """Classes to condense now: where one has more waiting than its place holds and enough of them, all that have
        nearly so."""
        if not any(self._is_full(group, sizes[group], 1.0) for group in self.arrived):
            return []
        return [group for group in self._waiting if self._is_full(group, sizes[group], 0.5)]

    def pools(self, groups: list[Group]) -> dict[int, TensorPool]:
        """The real images of these classes, those that waited and those that came, by task, in the stream's values."""
        parts = defaultdict(list)
        for task, label in groups:
            images = self._decoded((task, label))
            parts[task].append((images, torch.full((len(images),), label)))
        joined = {task: [torch.cat(part) for part in zip(*own, strict=True)] for task, own in parts.items()}
        like = {task: pool for (task, _), pool in self.arrived.items()}
        usual = next(iter(self.arrived.values()))
        return {task: _like(like.get(task, usual), *own) for task, own in joined.items()}

    def held(self, groups: list[Group]) -> dict[Group, AnySet]:
        """The condensed images of these classes, which count beside their pool's as they do beside all that came."""
        found = {}
        for group in groups:
            first = self._condensed(group)
            if first:
                part = self.groups[group].select(torch.arange(first))
                drawn = (self._waiting[group].images + self._new[group]) / self._since(group)
                found[group] = replace(part, counts=torch.tensor([max(1, round(self._before(group) * drawn))]))
        return found

    def settled(
        self, made: Mapping[Group, AnySet], sizes: Mapping[Group, int], generator: torch.Generator
    ) -> tuple[dict[Group, AnySet], dict[Group, Waiting]]:
        """All images of each class and which wait, with those that were condensed now."""
        groups, waiting = dict(self.groups), dict(self._waiting)
        for group in made:
            total = torch.tensor([self._before(group) + self._since(group)])
            groups[group], waiting[group] = replace(made[group], counts=total), Waiting()
        for group, pool in self.arrived.items():
            if group not in made:
                groups[group], waiting[group] = self._joined(group, pool, sizes[group], generator)
        return groups, waiting

    def _joined(self, group: Group, pool: TensorPool, share: int, generator: torch.Generator) -> tuple[AnySet, Waiting]:
        """A class's images with those that came. Where none can wait beside condensed ones, they take their place or
        are passed over, by chance."""
        first, waiting, new = self._condensed(group), self._waiting[group], self._alone(pool)
        part = self.groups.get(group)
        beside = None if part is None else self._standardized(part.select(torch.arange(first, len(part))))
        found, after = with_arrived(beside, waiting, new, _place(share, first), generator)
        if found is None and part is not None:
            before, total = self._before(group), self._before(group) + len(new)
            if float(torch.rand((), generator=generator)) * total < before:
                return replace(part, counts=torch.tensor([total])), Waiting()
            first = 0
            found, after = with_arrived(None, Waiting(counts=before), new, share, generator)
        found = self._as_stored(found)
        if part is None or not first:
            return found, after
        counts = torch.tensor([self._before(group)])
        return merged([replace(part.select(torch.arange(first)), counts=counts), found]), after

    def _is_full(self, group: Group, share: int, part: float) -> bool:
        first = self._condensed(group)
        enough = self._since(group) >= part * GROWTH * self._before(group)
        return share >= FEWEST and enough and self._stored(group) > part * _place(share, first)

    def _condensed(self, group: Group) -> int:
        """Stored images of a class that do not wait."""
        return len(self.groups[group]) - self._waiting[group].stored if group in self.groups else 0

    def _stored(self, group: Group) -> int:
        """Stored images that would wait."""
        return -(-(self._waiting[group].images + self._new[group]) // self._tiles)

    def _before(self, group: Group) -> int:
        """Real images that a class's condensed ones stand for."""
        return int(self.groups[group].counts) - self._waiting[group].counts if group in self.groups else 0

    def _since(self, group: Group) -> int:
        """Real images that came since."""
        return self._waiting[group].counts + self._new[group]

    def _decoded(self, group: Group) -> Tensor:
        """A class's real images, (M, C, H, W) in the stream's values."""
        waiting, images = self._waiting[group], []
        if waiting.stored:
            first = self._condensed(group) * self._tiles
            images.append(self.groups[group].decode(torch.arange(first, first + waiting.images)))
        if group in self.arrived:
            images.append(self.arrived[group].take(torch.arange(self._new[group])).cpu())
        return torch.cat(images)

    def _alone(self, pool: TensorPool) -> AnySet:
        """Real images of one class as stored ones, each by itself, in the space."""
        standardized, every = self.space.apply_to_pool(pool), torch.arange(len(pool))
        if self.kind.coded:
            return self.kind.coded_images(standardized, every[None], self.space)
        decoder = self.config.decoder(pool.shape[0])
        images = standardized.shrunk(*self._small).take(every).cpu()
        values = decoder.encode(images.repeat_interleave(decoder.tiles, 0))
        about = pool.labels, None, about_pool(pool), "float32", decoder.formation, decoder.color, decoder.enlarging
        return CondensedSet.from_images(values, *about)

    def _standardized(self, part: AnySet) -> AnySet | None:
        """Stored images in the space, to be put together with others."""
        if not len(part):
            return None
        if isinstance(part, CodedSet):
            return part
        return self.space.apply_to_set(part.decoded_to(*self._small)).with_storage("float32")

    def _as_stored(self, part: Any) -> AnySet:
        """Images of the space as the memory stores them."""
        if isinstance(part, CodedSet):
            return part
        return self.space.undo_set(part.with_storage(self.config.storage)).decoded_to(*self._shape[1:])

    @property
    def _small(self) -> tuple[int, int]:
        """Sides of the images that are coded."""
        _, height, width = self.config.condensed_shape(self._shape)
        return height, width
