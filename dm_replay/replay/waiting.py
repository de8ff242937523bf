"""Real images that wait in a memory to be condensed: the last stored ones of their class, coded like the rest.

Once a class's images fill their place, new ones take the place of others by chance: those held are a fair draw of all.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..condensed.codec import Codec
from ..condensed.image_set import ImageSet
from ..coresets.reducer import about_pool
from ..coresets.returning import reservoir
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator

__all__ = ["Waiting", "WaitingRoom", "cut", "kept_rows"]

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

    def fits(self, part: ImageSet) -> bool:
        """Whether a class's images can hold them."""
        each = part.codec.images_per_stored
        fewest, most = (self.stored - 1) * each + 1, self.stored * each
        return 1 <= self.stored <= len(part) and fewest <= self.images <= min(most, self.counts, int(part.counts))


def cut(part: ImageSet, waiting: Waiting, share: int) -> tuple[ImageSet, Waiting]:
    """A class's images at a smaller share: a prefix of the condensed ones, and a draw of those that wait."""
    condensed, each = len(part) - waiting.stored, part.codec.images_per_stored
    rows = kept_rows(condensed, waiting, share)
    kept = rows[rows >= condensed] - condensed
    images = int((waiting.images - kept * each).clamp_max(each).sum())
    return part.select(rows), Waiting(len(kept), images, waiting.counts if len(kept) else 0)


def kept_rows(condensed: int, waiting: Waiting, share: int) -> Tensor:
    """Numbers of a class's stored images that are left of so many condensed ones and those that wait behind them."""
    stored = min(waiting.stored, _place(share, condensed))
    drawn = torch.randperm(waiting.stored, generator=new_generator(waiting.counts, "cut", share))[:stored]
    return torch.cat([torch.arange(min(condensed, share - stored)), condensed + drawn.sort().values])


def _place(share: int, condensed: int) -> int:
    """Stored images of a share that may wait beside so many condensed ones: half of it, or what these leave."""
    return max(share // 2, share - condensed)


def _patched(old: Tensor, waiting: Waiting, new: Tensor, slots: list[int], codec: Codec) -> Tensor:
    """Old and new images by slot, one in each place of a stored one; what stays where it was keeps its values.

    Args:
        old: (M, …) values of stored images. new: of stored images that each hold one image everywhere.
    """
    each, stored = codec.images_per_stored, []
    for first in range(0, len(slots), each):
        filled = slots[first : first + each]
        own = [filled[place % len(filled)] for place in range(each)]
        parts = [old[slot // each] if slot < waiting.images else new[slot - waiting.images] for slot in own]
        stored.append(codec.patchwork(torch.stack(parts)))
    return torch.stack(stored)


class WaitingRoom:
    """What waits in a memory while images arrive.

    Args:
        codec: how images are stored.
        groups: all images of each class that the memory holds. waiting: which of them wait.
        arrived: real images of each class that came now, standardized.
    """

    def __init__(
        self,
        codec: Codec,
        groups: Mapping[Group, ImageSet],
        waiting: Mapping[Group, Waiting],
        arrived: Mapping[Group, TensorPool],
    ):
        self.codec, self.groups, self.arrived = codec, groups, arrived
        joined = [*groups, *(group for group in arrived if group not in groups)]
        self._waiting = {group: waiting.get(group, Waiting()) for group in joined}
        self._new = {group: len(arrived[group]) if group in arrived else 0 for group in joined}

    def limits(self, size: int | None) -> dict[Group, int]:
        """Stored images of each class that came: as many as came and are held of it.

        Of ``size`` in all no class takes more than it is of all that came. What has just begun takes little of the
        memory so, and of what is replayed beside it.
        """
        every = {group: self._before(group) + self._since(group) for group in self._waiting}
        total = sum(every.values())
        wanted = {group: self._condensed(group) + self._waits(group) for group in self.arrived}
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
        """The real images of these classes, those that waited and those that came, by task, standardized."""
        parts = defaultdict(list)
        for task, label in groups:
            images = self._decoded((task, label))
            parts[task].append((images, torch.full((len(images),), label)))
        joined = {task: [torch.cat(part) for part in zip(*own, strict=True)] for task, own in parts.items()}
        usual = next(iter(self.arrived.values()))
        about: dict[str, Any] = dict(names=usual.names, flip_invariant=usual.flip_invariant)
        return {task: TensorPool(images, labels, **about) for task, (images, labels) in joined.items()}

    def held(self, groups: list[Group]) -> dict[Group, ImageSet]:
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
        self, made: Mapping[Group, ImageSet], sizes: Mapping[Group, int], generator: torch.Generator
    ) -> tuple[dict[Group, ImageSet], dict[Group, Waiting]]:
        """All images of each class and which wait, with those that were condensed now."""
        groups, waiting = dict(self.groups), dict(self._waiting)
        for group in made:
            total = torch.tensor([self._before(group) + self._since(group)])
            groups[group], waiting[group] = replace(made[group], counts=total), Waiting()
        for group, pool in self.arrived.items():
            if group not in made:
                groups[group], waiting[group] = self._joined(group, pool, sizes[group], generator)
        return groups, waiting

    def _joined(
        self, group: Group, pool: TensorPool, share: int, generator: torch.Generator
    ) -> tuple[ImageSet, Waiting]:
        """A class's images with those that came. Where none can wait beside condensed ones, they take their place or
        are passed over, by chance."""
        first, waiting, new = self._condensed(group), self._waiting[group], self._alone(pool)
        part = self.groups.get(group)
        beside = None if part is None else part.select(torch.arange(first, len(part)))
        found, after = self._with_arrived(beside, waiting, new, pool, _place(share, first), generator)
        if found is None and part is not None:
            before, total = self._before(group), self._before(group) + len(new)
            if float(torch.rand((), generator=generator)) * total < before:
                return replace(part, counts=torch.tensor([total])), Waiting()
            first = 0
            found, after = self._with_arrived(None, Waiting(counts=before), new, pool, share, generator)
        assert found is not None
        if part is None or not first:
            return found, after
        counts = torch.tensor([self._before(group)])
        return ImageSet.merge([replace(part.select(torch.arange(first)), counts=counts), found]), after

    def _with_arrived(
        self,
        beside: ImageSet | None,
        waiting: Waiting,
        new: Tensor,
        pool: TensorPool,
        room: int,
        generator: torch.Generator,
    ) -> tuple[ImageSet | None, Waiting]:
        """Those of a class that wait once new images (M, …) of a pool have come; None where there is no room.

        Args:
            beside: those that waited. new: values of stored images, one for each new one. room: stored images that may
                wait.
        """
        counts, each = waiting.counts + len(new), self.codec.images_per_stored
        slots = reservoir(waiting.images, waiting.counts, len(new), room * each, generator)
        if not slots:
            return None, Waiting()
        if each == 1:
            arrived = self._stored(new, pool)
            held = [part for part in (beside, arrived) if part is not None and len(part)]
            found = ImageSet.merge(held).select(torch.tensor(slots))
        else:
            old = new[:0] if beside is None else beside.values
            found = self._stored(_patched(old, waiting, new, slots, self.codec), pool)
        found = replace(found, counts=torch.tensor([counts]))
        return found, Waiting(len(found), len(slots), counts)

    def _stored(self, values: Tensor, pool: TensorPool) -> ImageSet:
        """Images of the one class of a pool."""
        labels = pool.classes.repeat(len(values))
        return ImageSet.from_values(values, labels, self.codec, pool.shape, None, about_pool(pool))

    def _alone(self, pool: TensorPool) -> Tensor:
        """Real images of one class as values of stored ones, each by itself."""
        working = self.codec.working_shape(pool.shape)
        images = pool.shrunk(*working[1:]).take(torch.arange(len(pool))).cpu()
        return self.codec.encode(images.repeat_interleave(self.codec.images_per_stored, 0))

    def _is_full(self, group: Group, share: int, part: float) -> bool:
        first = self._condensed(group)
        enough = self._since(group) >= part * GROWTH * self._before(group)
        return share >= FEWEST and enough and self._waits(group) > part * _place(share, first)

    def _condensed(self, group: Group) -> int:
        """Stored images of a class that do not wait."""
        return len(self.groups[group]) - self._waiting[group].stored if group in self.groups else 0

    def _waits(self, group: Group) -> int:
        """Stored images that would wait."""
        return -(-(self._waiting[group].images + self._new[group]) // self.codec.images_per_stored)

    def _before(self, group: Group) -> int:
        """Real images that a class's condensed ones stand for."""
        return int(self.groups[group].counts) - self._waiting[group].counts if group in self.groups else 0

    def _since(self, group: Group) -> int:
        """Real images that came since."""
        return self._waiting[group].counts + self._new[group]

    def _decoded(self, group: Group) -> Tensor:
        """A class's real images, (M, C, H, W)."""
        waiting, images = self._waiting[group], []
        if waiting.stored:
            first = self._condensed(group) * self.codec.images_per_stored
            images.append(self.groups[group].decode(torch.arange(first, first + waiting.images)))
        if group in self.arrived:
            images.append(self.arrived[group].take(torch.arange(self._new[group])).cpu())
        return torch.cat(images)
