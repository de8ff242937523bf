"""Random real images of every class, whole or shrunk."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from ..condensed.condensed_set import CondensedSet
from ..condensed.decoder import Decoder
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from .config import ExemplarConfig

__all__ = ["about_pool", "check_enough", "chosen", "kept", "random_exemplars", "random_set"]


class Wanted(Protocol):
    """What an :class:`ExemplarConfig` and the configuration of a condensation both say."""

    @property
    def ipc(self) -> int: ...

    @property
    def storage(self) -> str: ...

    def condensed_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]: ...

    def decoder(self, channels: int) -> Decoder: ...


def random_exemplars(pool: TensorPool, config: Wanted | None = None, *, seed: int = 0) -> CondensedSet:
    """The baseline of condensation: random real images of every class of the pool, ``config.ipc`` stored ones.

    With a formation f they are f² · ipc images, shrunk into the same bytes.

    Args:
        config: an :class:`ExemplarConfig`, or anything else with ``ipc``, ``storage``, ``condensed_shape`` and
            ``decoder``.

    Raises:
        ValueError: if a class has fewer images, or the images are too small for the formation.

    >>> from dm_replay import load_dataset
    >>> from dm_replay.coresets.config import ExemplarConfig
    >>> from dm_replay.coresets.random import random_exemplars
    >>> shrunk = random_exemplars(load_dataset("digits").train, ExemplarConfig(ipc=2, formation=2))
    >>> len(shrunk), shrunk.decoded
    (20, 80)
    """
    generator = new_generator(seed, "random")
    return chosen(pool, config, seed, lambda each: pool.draw_indices(pool.classes, each, generator))


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


def check_enough(pool: TensorPool, each: int) -> None:
    """ValueError if a class has fewer than ``each`` images."""
    if int(pool.counts.min()) < each:
        short = int(pool.counts.argmin())
        raise ValueError(f"class {int(pool.classes[short])} has {int(pool.counts[short])} images, fewer than {each}")


def chosen(pool: TensorPool, config: Wanted | None, seed: int, choose: Callable[[int], Tensor]) -> CondensedSet:
    """The images that ``choose`` takes of a pool, as a set.

    Args:
        choose: how many real images of each class -> rows (K, each), in the order of ``pool.classes``.

    Raises:
        ValueError: if a class has fewer images, or the images are too small for the formation.
    """
    config = config or ExemplarConfig()
    decoder = config.decoder(pool.shape[0])
    small = config.condensed_shape(pool.shape)
    decoder.check(small)
    each = config.ipc * decoder.tiles
    check_enough(pool, each)
    rows = choose(each)
    images = pool.select(rows.flatten()).shrunk(*small[1:]).take(torch.arange(rows.numel()))
    return kept(pool, images.unflatten(0, rows.shape), config, seed).decoded_to(*pool.shape[1:])


def kept(pool: TensorPool, images: Tensor, config: Wanted, seed: int) -> CondensedSet:
    """Chosen images (K, ipc · f², C, h, w) of each class, in the order of ``pool.classes``, as a set."""
    decoder = config.decoder(pool.shape[0])
    return CondensedSet.from_images(
        decoder.encode(images.flatten(0, 1)),
        pool.classes.repeat_interleave(config.ipc),
        pool.counts,
        {"seed": seed, **about_pool(pool)},
        _storage(pool) if config.storage == "auto" else config.storage,
        decoder.formation,
        decoder.color,
        decoder.enlarging,
    )


def about_pool(pool: TensorPool) -> dict[str, Any]:
    """What a set records of the pool that it comes from."""
    known = {"mean": pool.mean, "std": pool.std, "names": pool.names}
    return {name: list(values) for name, values in known.items() if values is not None}


def _storage(pool: TensorPool) -> str:
    """uint8 pools keep to a byte a value."""
    return "uint8" if pool.images.dtype == torch.uint8 else "float32"
