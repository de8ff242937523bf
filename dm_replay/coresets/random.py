"""Random real images of every class."""

from typing import Protocol

import torch

from ..condensed.condensed_set import CondensedSet
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from .config import ExemplarConfig

__all__ = ["random_exemplars", "random_set"]


class _Wanted(Protocol):
    """What an :class:`ExemplarConfig` and the configuration of a condensation both say."""

    @property
    def ipc(self) -> int: ...

    @property
    def storage(self) -> str: ...


def random_exemplars(pool: TensorPool, config: _Wanted | None = None, *, seed: int = 0) -> CondensedSet:
    """The baseline of condensation: ``config.ipc`` random real images of every class of the pool.

    Args:
        config: an :class:`ExemplarConfig`, or anything else with ``ipc`` and ``storage``.

    Raises:
        ValueError: if a class has fewer images.
    """
    config = config or ExemplarConfig()
    if int(pool.counts.min()) < config.ipc:
        short = int(pool.counts.argmin())
        raise ValueError(
            f"class {int(pool.classes[short])} has {int(pool.counts[short])} images, fewer than ipc {config.ipc}"
        )
    images = pool.draw(pool.classes, config.ipc, new_generator(seed, "random"))
    known = {"mean": pool.mean, "std": pool.std, "names": pool.names}
    return CondensedSet.from_images(
        images.flatten(0, 1),
        pool.classes.repeat_interleave(config.ipc),
        pool.counts,
        {"seed": seed, **{name: list(values) for name, values in known.items() if values is not None}},
        _storage(pool) if config.storage == "auto" else config.storage,
    )


def random_set(pool: TensorPool, ipc: int, seed: int = 0) -> CondensedSet:
    """:func:`random_exemplars` by their number alone.

    Raises:
        ValueError: if a class has fewer images.

    >>> from dm_replay import load_dataset
    >>> from dm_replay.coresets.random import random_set
    >>> random_set(load_dataset("digits").train, 2, seed=0).labels.tolist()[:6]
    [0, 0, 1, 1, 2, 2]
    """
    return random_exemplars(pool, ExemplarConfig(ipc), seed=seed)


def _storage(pool: TensorPool) -> str:
    """uint8 pools keep to a byte a value."""
    return "uint8" if pool.images.dtype == torch.uint8 else "float32"
