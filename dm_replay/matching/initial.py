"""What the synthetic pixels start from: real images of the class, or noise."""

import torch
from torch import Tensor

from ..condensed.condensed_set import CondensedSet
from ..condensed.formation import encode_tiles
from ..data.class_index import ClassShard
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from .config import CondenseConfig

__all__ = ["initial_pixels"]


def initial_pixels(
    pool: TensorPool, group: ClassShard, previous: CondensedSet | None, config: CondenseConfig, seed: int
) -> Tensor:
    """(G, ipc, C, H, W) float32, each a mosaic of formation² shrunk real images of its class.

    A returning class with too few new images starts from its previous ones, too; with a formation a class with too few
    images repeats them.
    """
    generator = new_generator(seed, "init")
    if config.init == "noise":
        return group.take(torch.randn(len(group.classes), config.ipc, *pool.shape, generator=generator))
    each = config.ipc * config.formation**2
    drawn = pool.take(pool.rows_of(group).draw(each, generator))
    if config.formation > 1:
        return encode_tiles(drawn.flatten(0, 1), config.formation).unflatten(0, (len(group.mine), config.ipc))
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
