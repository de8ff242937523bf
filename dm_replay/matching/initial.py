"""What the synthetic pixels start from: real images of the class, or noise."""

import torch
from torch import Tensor

from ..condensed.condensed_set import CondensedSet
from ..data.class_index import ClassShard
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from .config import CondenseConfig

__all__ = ["initial_pixels"]


def initial_pixels(
    pool: TensorPool, group: ClassShard, previous: CondensedSet | None, config: CondenseConfig, seed: int
) -> Tensor:
    """(G, ipc, …) float32 as the decoder stores them, each of formation² real images of its class.

    A returning class with too few new images starts from its previous ones, too; where stored images are no training
    images a class with too few real ones repeats them.
    """
    generator, decoder = new_generator(seed, "init"), config.decoder(pool.shape[0])
    if config.init == "noise":
        shape = decoder.stored_shape(pool.shape)
        return group.take(torch.randn(len(group.classes), config.ipc, *shape, generator=generator))
    drawn = pool.take(pool.rows_of(group).draw(config.ipc * decoder.tiles, generator))
    if not decoder.plain:
        return decoder.encode(drawn.flatten(0, 1)).unflatten(0, (len(group.mine), config.ipc))
    for number, have in enumerate(pool.index.counts_of(group.mine).tolist()):
        if have < config.ipc:
            label = int(group.mine[number])
            held = pool.take(torch.empty(0, dtype=torch.long)) if previous is None else previous.of_class(label).images
            if have + len(held) < config.ipc:
                raise ValueError(
                    f"class {label} has {have + len(held)} real images, fewer than ipc {config.ipc}: "
                    "lower ipc or start from noise (init=noise)"
                )
            drawn[number, have:] = held[: config.ipc - have].to(drawn.device)
    return drawn
