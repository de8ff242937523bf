"""A class that comes again: its images are the union of what is kept of it and of what came, by real images."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..condensed.codec import Codec
from ..condensed.image_set import ImageSet
from ..runtime.seeding import new_generator

__all__ = ["evenly", "joined", "new_among", "reservoir", "with_previous"]


def new_among(ipc: int, each: int, label: int, new: int, previous: ImageSet | None, seed: int) -> int:
    """How many of a class's ``ipc · each`` training images are new ones; the others are kept from ``previous``.

    All of them, where the class has not been seen. Else the part that the new real images are of all that the class
    stands for, rounded up or down by chance so that it is right on average, but no image twice while there are others.

    Args:
        ipc: stored images of the class. each: training images of one. new: real images that came.

    >>> import torch
    >>> from dm_replay import ImageSet
    >>> from dm_replay.coresets.returning import new_among
    >>> held = ImageSet.from_images(torch.rand(8, 1, 8, 8), torch.zeros(8), counts=torch.tensor([30]))
    >>> new_among(8, 1, 0, 10, held, seed=0), new_among(8, 1, 0, 10, None, seed=0)
    (2, 8)
    """
    slots = ipc * each
    if previous is None or label not in previous.classes.tolist():
        return slots
    held = previous.of_class(label)
    wanted = slots * new / (new + max(1, int(held.counts)))
    chance = float(torch.rand((), generator=new_generator(seed, "returning", label)))
    least = max(0, ipc - len(held)) * each
    return max(least, min(math.floor(wanted + chance), new, slots))


def with_previous(new: ImageSet, previous: ImageSet, ipc: int, seed: int) -> ImageSet:
    """``ipc`` stored images of each class of ``new``: :func:`new_among` new ones, the others previous ones."""
    each, classes, known = new.codec.images_per_stored, [], previous.by_class()
    for label, own in new.by_class().items():
        if label in known:
            old, count = known[label], int(own.counts)
            share = min(ipc, len(own) + len(old))
            many = min(new_among(share, each, label, count, old, seed), len(own) * each)
            own = replace(_joined_sets(own, old, share, many), counts=torch.tensor([count + int(old.counts)]))
        classes.append(own)
    return ImageSet.merge(classes)


def _joined_sets(new: ImageSet, old: ImageSet, ipc: int, many: int) -> ImageSet:
    """``many`` of a class's new training images, and old ones. What is kept whole is not coded again."""
    whole, rest = divmod(many, new.codec.images_per_stored)
    kept = ipc - whole - (rest > 0)
    parts = [new.select(torch.arange(whole))]
    if rest:
        mixed = _filled(new.values[whole], old.values[kept], rest, new.codec)
        parts.append(new.select(torch.tensor([whole])).with_values(mixed[None]))
    joined = ImageSet.merge([part for part in (*parts, old.select(torch.arange(kept))) if len(part)])
    return joined.select(evenly(ipc - kept, kept))


def joined(values: Tensor, old: Tensor, many: int, codec: Codec) -> Tensor:
    """A class's new stored images and its old ones as many as the new, each kind spread evenly over all.

    Old ones are kept as they are; where new training images fill a stored one in part, the rest of it is an old one's.

    Args:
        values: (ipc, …), new. old: (K, …), stored alike, best first. many: training images of the result that are new.

    Returns:
        (ipc, …). The old ones of the smallest numbers stay.
    """
    whole, rest = divmod(many, codec.images_per_stored)
    kept = len(values) - whole - (rest > 0)
    mixed = [_filled(values[whole], old[kept], rest, codec)[None]] if rest else []
    return torch.cat([values[:whole], *mixed, old[:kept]])[evenly(len(values) - kept, kept)]


def _filled(new: Tensor, old: Tensor, rest: int, codec: Codec) -> Tensor:
    """One stored image (…) whose first ``rest`` training images are new and the others old."""
    return codec.patchwork(torch.stack([new if tile < rest else old for tile in range(codec.images_per_stored)]))


def evenly(first: int, second: int) -> Tensor:
    """An order (first + second,) of as many things of two kinds in which any beginning has its part of each.

    >>> from dm_replay.coresets.returning import evenly
    >>> evenly(4, 2).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    places = torch.cat([(torch.arange(part) + 0.5) / max(1, part) for part in (first, second)])
    return places.argsort(stable=True)


def reservoir(held: int, seen: int, new: int, room: int, generator: torch.Generator) -> list[int]:
    """Which images are held once so many new ones have come: a fair draw of all (reservoir sampling, Vitter 1985).

    Args:
        held: images before, numbered from 0; new ones count behind them. seen: images that these were drawn from.
        room: how many can be held.

    >>> import torch
    >>> from dm_replay.coresets.returning import reservoir
    >>> reservoir(2, 2, new=1, room=4, generator=torch.Generator())
    [0, 1, 2]
    """
    slots = list(range(held))
    for number in range(held, held + new):
        seen += 1
        if len(slots) < room:
            slots.append(number)
        elif (slot := int(torch.randint(seen, (), generator=generator))) < len(slots):
            slots[slot] = number
    return slots
