"""Random real images of every class."""

from dataclasses import dataclass

import torch

from ..condensed.image_set import ImageSet
from ..data.class_index import ClassShard
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from .reducer import Budget, ByShare, Work

__all__ = ["Random", "random_set"]


@dataclass(frozen=True)
class Random(ByShare):
    """Random real images, the baseline of condensation.

    >>> from dm_replay import Budget, Random, Tiles, load_dataset
    >>> shrunk = Random().reduce(load_dataset("digits").train, Budget(2, Tiles(tiles=2)), seed=0)
    >>> len(shrunk), shrunk.decoded
    (20, 80)
    """

    def share(
        self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None, work: Work
    ) -> ImageSet | None:
        """What is drawn of a class does not depend on the process."""
        budget = budget.fit(pool)
        budget.check_enough(pool, previous)
        if not len(pool.classes[work.part]):
            return None
        shard = ClassShard(pool.classes, work.part)
        rows = pool.rows_of(shard).draw(budget.images, new_generator(seed, "random"))
        mine = pool.of_classes(shard.mine)
        return budget.store_rows(pool.select(mine), torch.searchsorted(mine, rows), seed)


def random_set(pool: TensorPool, ipc: int, seed: int = 0) -> ImageSet:
    """Random whole images, so many of each class.

    Raises:
        ValueError: if a class has fewer images.

    >>> from dm_replay import load_dataset
    >>> from dm_replay.coresets.random import random_set
    >>> random_set(load_dataset("digits").train, 2, seed=0).labels.tolist()[:6]
    [0, 0, 1, 1, 2, 2]
    """
    return Random().reduce(pool, Budget(ipc), seed=seed)
