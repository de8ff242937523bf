"""What the synthetic images are matched to: real images and, of classes that come again, previous condensed ones."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..condensed.condensed_set import CondensedSet
from ..data.pool import EVERY, ClassRows, TensorPool
from ..runtime.seeding import new_generator

__all__ = ["RealBatches"]


@dataclass(frozen=True)
class RealBatches:
    """The images whose mean features a class is matched to: drawn real ones and, of a returning class, previous ones.

    Attributes:
        pool: real images. classes: (A,), all that are condensed. batch: real images of each class per iteration.
        previous: (G, K, C, H, W) condensed images of the classes of the shard, padded with real ones; K may be 0.
        weights: (G, batch + K), each row sums to 1: what an image counts for in its class's mean.
        counts: (G,) real images that each class stands for from now on.
        shard: which G of the A classes are condensed here. What is drawn for them does not depend on it.
    """

    pool: TensorPool
    classes: Tensor
    batch: int
    previous: Tensor
    weights: Tensor
    counts: Tensor
    shard: slice = field(default_factory=lambda: EVERY)

    @classmethod
    def of(
        cls,
        pool: TensorPool,
        classes: Tensor,
        batch: int,
        previous: CondensedSet | None,
        shard: slice = EVERY,
    ) -> "RealBatches":
        new = pool.counts_of(classes)
        batch, new = min(batch, int(new.max())), new[shard]
        images, held, old = _by_class(previous, classes[shard], pool)
        fresh = new.double() / (new + old)
        weights = torch.cat(
            [
                (fresh / batch)[:, None].expand(-1, batch),
                (1 - fresh)[:, None] * held / held.sum(1, keepdim=True).clamp_min(1),
            ],
            dim=1,
        )
        return cls(pool, classes, batch, images, weights, new + old, shard)

    def rows(self, device: torch.device | str = "cpu") -> ClassRows:
        """Where the real images lie, for draws on ``device``."""
        return self.pool.rows_of(self.classes, self.shard, device)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Indices of an iteration's real images: (G, batch)."""
        return self.rows(generator.device).draw(self.batch, generator)

    def stored(self, indices: Tensor, groups: slice, rows: slice) -> Tensor:
        """The real images of a block, as the pool stores them."""
        return self.pool.raw(indices[groups, rows])

    def complete(self, stored: Tensor, groups: slice, rows: slice, device: torch.device) -> Tensor:
        """A block of the normalized real_batches; rows from ``batch`` on are previous images."""
        real = self.pool.normalize(stored.to(device, non_blocking=True))
        kept = slice(max(0, rows.start - self.batch), max(0, rows.stop - self.batch))
        if kept.stop == kept.start:
            return real
        return torch.cat([real, self.previous[groups, kept].to(device)], dim=1)


def _by_class(previous: CondensedSet | None, classes: Tensor, pool: TensorPool) -> tuple[Tensor, Tensor, Tensor]:
    """Previous images (G, K, C, H, W), which of them are there (G, K) and what each class counts (G,).

    Where a class has fewer than K, real images of it fill the rest: they weigh nothing in its mean, and in the
    statistics of a BatchNorm, which see them, they do no harm as zeros would.
    """
    mine = (
        [] if previous is None else [previous.of_class(c) if c in previous.classes else None for c in classes.tolist()]
    )
    longest = max((len(s) for s in mine if s is not None), default=0)
    images = (
        pool.draw(classes, longest, new_generator(0, "padding")).cpu()
        if longest
        else torch.zeros(len(classes), 0, *pool.shape)
    )
    held, counts = torch.zeros(len(classes), longest), torch.zeros(len(classes), dtype=torch.long)
    for group, part in enumerate(mine):
        if part is not None:
            images[group, : len(part)], held[group, : len(part)] = part.images, 1.0
            counts[group] = part.counts[0]
    return images, held, counts
