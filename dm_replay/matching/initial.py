"""What the synthetic pixels start from: real images of the class, random or herded, or noise."""

import torch
from torch import Tensor

from ..condensed.codec import Codec
from ..condensed.image_set import ImageSet
from ..coresets.herding import herded, random_embedding
from ..coresets.returning import joined, new_among
from ..data.class_index import ClassShard
from ..data.pixels import averaged
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from ..runtime.stages import counted
from .config import CondenseConfig

__all__ = ["initial_pixels", "values_as"]

CANDIDATES = 4  # for each herded image, random real ones that it is chosen from
FEWEST = 250  # of a class


def initial_pixels(
    pool: TensorPool, group: ClassShard, previous: ImageSet | None, config: CondenseConfig, seed: int
) -> Tensor:
    """(G, ipc, …) float32 as the codec encodes them, of real images of each class.

    A returning class keeps of its previous images the part that :func:`new_among` leaves them. Where stored images are
    no training images a class with too few real ones repeats them.
    """
    generator, codec = new_generator(seed, "init"), config.codec
    if config.init == "noise":
        shape = codec.value_shape(pool.shape)
        return group.take(torch.randn(len(group.classes), config.ipc, *shape, generator=generator))
    each = codec.images_per_stored
    rows = _rows(pool, group, config.ipc * each, config, generator, seed)
    start, have = [], pool.index.counts_of(group.mine).tolist()
    for number, label in enumerate(group.mine.tolist()):
        new = new_among(config.ipc, each, label, have[number], previous, seed)
        if codec.plain and new > have[number]:
            held = config.ipc - new
            raise ValueError(
                f"class {label} has {have[number] + held} real images, fewer than ipc {config.ipc}: "
                "lower ipc or start from noise (init=noise)"
            )
        values = codec.encode(pool.take(rows[number]).cpu())  # class by class: tiles take several times their room
        if new < config.ipc * each and previous is not None:
            values = joined(values, values_as(previous.of_class(label), codec), new, codec)
        start.append(values)
    return torch.stack(start)


def _rows(
    pool: TensorPool, group: ClassShard, each: int, config: CondenseConfig, generator: torch.Generator, seed: int
) -> Tensor:
    """(G, each) rows of the pool."""
    rows = pool.rows_of(group)
    if config.init == "real":
        return rows.draw(each, generator)
    embed = random_embedding(pool, config.network, seed, config.machine.memory_budget)
    candidates = rows.draw(max(FEWEST, CANDIDATES * each), generator)
    return torch.stack(
        [
            herded(pool, of_class.unique(), each, embed)
            for of_class in counted("choosing images", candidates, len(candidates))
        ]
    )


def values_as(held: ImageSet, codec: Codec) -> Tensor:
    """(K, …) values of these images as another codec encodes them, at its own working size."""
    same = codec == held.codec or (hasattr(codec, "size") and codec.but(storage=held.storage) == held.codec)
    if held.affine is None and same:
        return held.values
    images = averaged(held.images, codec.working_shape(held.shape)[1:])
    stored = -(-len(images) // codec.images_per_stored)
    return codec.encode(images[torch.arange(stored * codec.images_per_stored) % len(images)])
