"""A class that comes again: its images are the union of what is kept of it and of what came, by real images."""

import math

import torch
from torch import Tensor

from ..condensed.by_class import ByClass
from ..condensed.condensed_set import CondensedSet
from ..condensed.decoder import Decoder
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from .random import Wanted, kept

__all__ = ["evenly", "joined", "kept_with_previous", "new_among", "stored_values"]


def new_among(ipc: int, tiles: int, label: int, new: int, previous: ByClass | None, seed: int) -> int:
    """How many of a class's ``ipc · tiles`` training images are new ones; the others are kept from ``previous``.

    All of them, where the class has not been seen. Else the part that the new real images are of all that the class
    stands for, rounded up or down by chance so that it is right on average, but no image twice while there are others.

    Args:
        ipc: stored images of the class. tiles: training images of each. new: real images that came.

    >>> import torch
    >>> from dm_replay import CondensedSet
    >>> from dm_replay.coresets.returning import new_among
    >>> held = CondensedSet.from_images(torch.rand(8, 1, 8, 8), torch.zeros(8), counts=torch.tensor([30]))
    >>> new_among(8, 1, 0, 10, held, seed=0), new_among(8, 1, 0, 10, None, seed=0)
    (2, 8)
    """
    slots = ipc * tiles
    if previous is None or label not in previous.classes.tolist():
        return slots
    held = previous.of_class(label)
    wanted = slots * new / (new + max(1, int(held.counts)))
    chance = float(torch.rand((), generator=new_generator(seed, "returning", label)))
    least = max(0, ipc - len(held)) * tiles
    return max(least, min(math.floor(wanted + chance), new, slots))


def kept_with_previous(
    pool: TensorPool, images: Tensor, config: Wanted, seed: int, previous: CondensedSet | None
) -> CondensedSet:
    """As :func:`kept`, with what :func:`new_among` leaves of the previous images of classes that come again."""
    new = kept(pool, images, config, seed)
    if previous is None:
        return new
    decoder, classes = config.decoder(pool.shape[0]), []
    known = set(previous.classes.tolist())
    for number, (label, count) in enumerate(zip(pool.classes.tolist(), pool.counts.tolist(), strict=True)):
        own = new.of_class(label)
        if label in known:
            old = previous.of_class(label)
            many = new_among(config.ipc, decoder.tiles, label, count, old, seed)
            values = joined(images[number, :many].cpu(), stored_values(old, decoder), config.ipc, decoder)
            own = own.with_values(values, counts=count + old.counts)
        classes.append(own)
    return CondensedSet.merge(classes)


def joined(images: Tensor, old: Tensor, ipc: int, decoder: Decoder) -> Tensor:
    """A class's new images and its old stored ones as ``ipc`` stored ones, each kind spread evenly over all.

    Old ones are kept as they are; where new images fill a stored one in part, the rest of it is an old one's.

    Args:
        images: (M, C, H, W), new training images. old: (K, …) as the decoder stores them, best first.

    Returns:
        (ipc, …). The old ones of the smallest numbers stay.
    """
    whole, rest = divmod(len(images), decoder.tiles)
    fresh = [decoder.encode(images[: whole * decoder.tiles])] if whole else []
    kept = ipc - whole - (rest > 0)
    if rest:
        alone = decoder.encode(images[whole * decoder.tiles :].repeat_interleave(decoder.tiles, 0))
        fresh.append(
            decoder.patchwork(torch.cat([alone, old[kept].expand(decoder.tiles - rest, *old[kept].shape)]))[None]
        )
    stored = torch.cat([*fresh, old[:kept]])
    return stored[evenly(ipc - kept, kept)]


def evenly(first: int, second: int) -> Tensor:
    """An order (first + second,) of as many things of two kinds in which any beginning has its part of each.

    >>> from dm_replay.coresets.returning import evenly
    >>> evenly(4, 2).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    places = torch.cat([(torch.arange(part) + 0.5) / max(1, part) for part in (first, second)])
    return places.argsort(stable=True)


def stored_values(images: CondensedSet, decoder: Decoder) -> Tensor:
    """The stored images (K, …) of a set of one class, in values as the decoder stores them.

    They are those of the set, if it stores alike; else they are made of its training images.
    """
    affine = images.affine
    same = affine is None or torch.allclose(affine, torch.tensor([[1.0], [0.0]]).expand_as(affine), atol=1e-5)
    if same and images.decoder == decoder:
        return images.mosaics
    decoded = images.images
    stored = -(-len(decoded) // decoder.tiles)
    return decoder.encode(decoded[torch.arange(stored * decoder.tiles) % len(decoded)])
