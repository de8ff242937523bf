"""Random real images of every class."""

import torch

from ..condensed.condensed_set import CondensedSet
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator

__all__ = ["random_set"]


def random_set(pool: TensorPool, ipc: int, seed: int = 0) -> CondensedSet:
    """The baseline: ``ipc`` random real images of every class. uint8 pools keep to a byte per value.

    Raises:
        ValueError: if a class has fewer images.

    >>> from dm_replay import load_dataset
    >>> from dm_replay.coresets.random import random_set
    >>> random_set(load_dataset("digits").train, 2, seed=0).labels.tolist()[:6]
    [0, 0, 1, 1, 2, 2]
    """
    if int(pool.counts.min()) < ipc:
        short = int(pool.counts.argmin())
        raise ValueError(f"class {int(pool.classes[short])} has {int(pool.counts[short])} images, fewer than ipc {ipc}")
    images = pool.draw(pool.classes, ipc, new_generator(seed, "random"))
    storage = "uint8" if pool.images.dtype == torch.uint8 else "float32"
    return CondensedSet.from_images(
        images.flatten(0, 1), pool.classes.repeat_interleave(ipc), pool.counts, storage=storage
    )
