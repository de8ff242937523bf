"""What a memory holds of classes that come again, beside their new real images."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator

__all__ = ["Previous"]


class Previous(NamedTuple):
    """Training images of an earlier set, by class.

    Attributes:
        images: (G, K, C, H, W). Where a class has fewer than K, real images of it fill the rest: they weigh nothing in
            its mean, and in the statistics of a BatchNorm, which see them, they do no harm as zeros would.
        held: (G, K), 1 where an image is a previous one, else 0. counts: (G,), the real images they stand for.
    """

    images: Tensor
    held: Tensor
    counts: Tensor

    @classmethod
    def of(cls, previous: ImageSet | None, classes: Tensor, pool: TensorPool) -> "Previous":
        """Those of ``classes`` (G,), which the pool has real images of; K is 0 where none comes again."""
        known = [] if previous is None else previous.classes.tolist()
        sets = {c: previous.of_class(c) for c in classes.tolist() if c in known} if previous is not None else {}
        longest = max((part.decoded for part in sets.values()), default=0)
        if longest:
            images = pool.draw(classes, longest, new_generator(0, "padding")).cpu()
        else:
            images = torch.zeros(len(classes), 0, *pool.shape)
        held, counts = torch.zeros(len(classes), longest), torch.zeros(len(classes), dtype=torch.long)
        for group, label in enumerate(classes.tolist()):
            if label in sets:
                part = sets[label]
                images[group, : part.decoded], held[group, : part.decoded] = part.images, 1.0
                counts[group] = part.counts[0]
        return cls(images, held, counts)
