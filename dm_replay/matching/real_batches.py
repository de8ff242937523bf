"""What the synthetic images are matched to: real images and, of classes that come again, previous condensed ones."""

import itertools
import math
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..condensed.image_set import ImageSet
from ..data.classes import ClassShard
from ..data.pool import TensorPool
from ..runtime.engine import Engine
from ..runtime.parallel import ReadAhead
from ..runtime.seeding import new_generator

__all__ = ["Block", "Previous", "RealBatches", "blocks_of"]


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


READ_AHEAD = 256 * 2**20  # bytes of stored pixels; an iteration of 1,000 classes of 256 64x64 images has 3.1 GB


class Block(NamedTuple):
    """A part of an iteration's images: classes and rows of (G, batch + K), and images (g, b, C, H, W), normalized."""

    groups: slice
    rows: slice
    images: Tensor


class RealBatches:
    """The images whose weighted mean features each class is matched to, block by block.

    A class's rows are ``batch`` drawn real images and, where the class comes again, its K previous condensed ones.
    Real images that lie elsewhere than on the engine's device, or in a file, are read ahead by a thread, which
    :meth:`close` ends.

    Args:
        pool: real images. shard: the classes. batch: real images of each class per iteration; where every class has
            fewer, all of them. previous: condensed images of classes that come again.
        seed: of the draws that are read ahead.
        whole: one block, as networks with BatchNorm need.

    Attributes:
        weights: (G, batch + K), each row sums to 1: what an image counts for in its class's mean.
        counts: (G,) real images that each class stands for from now on.
        resident: whether the pixels lie on the engine's device, and draws are made where the engine draws.
        draws_on: the device that the generator of :meth:`blocks` must be on.
    """

    def __init__(
        self,
        pool: TensorPool,
        shard: ClassShard,
        batch: int,
        previous: ImageSet | None,
        engine: Engine,
        *,
        seed: int = 0,
        whole: bool = False,
    ):
        new = pool.index.counts_of(shard.classes)
        self.pool, self.shard, self.seed, self.device = pool, shard, seed, engine.device
        self.batch, new = min(batch, int(new.max())), shard.take(new)
        images, held, old = Previous.of(previous, shard.mine, pool)
        self.previous, self.counts = images.to(engine.device), new + old
        self.weights = _weights(self.batch, new.double() / (new + old), held)
        self.resident = not pool.mapped and pool.device == engine.device
        self.draws_on = engine.draws_on if self.resident else torch.device("cpu")
        self._rows = pool.rows_of(shard, self.draws_on)
        groups, rows = self.weights.shape
        self._places = list(blocks_of(groups, rows, sys.maxsize if whole else engine.chunk))
        self._ahead: ReadAhead | None = None
        self._next: int | None = None

    def blocks(self, iteration: int, generator: torch.Generator) -> Iterator[Block]:
        """The images of an iteration; a resident pool's are drawn now, by the generator, others are read ahead."""
        if self.resident:
            return self.blocks_of_rows(self.draw(generator))
        return self._completed(self._read_ahead(iteration))

    def blocks_of_rows(self, indices: Tensor) -> Iterator[Block]:
        """The images of given rows of the pool, (G, batch)."""
        return self._completed(self._stored(indices))

    def draw(self, generator: torch.Generator) -> Tensor:
        """Indices of an iteration's real images: (G, batch)."""
        return self._rows.draw(self.batch, generator)

    def close(self) -> None:
        """End the thread that reads ahead, if there is one."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def _stored(self, indices: Tensor) -> Iterator[Tensor]:
        """The real images of each block, as the pool stores them."""
        return (self.pool.gather(indices[groups, rows]) for groups, rows in self._places)

    def _completed(self, stored: Iterable[Tensor]) -> Iterator[Block]:
        """Normalized on the device; rows from ``batch`` on are previous images."""
        for (groups, rows), pixels in zip(self._places, stored, strict=False):
            real = self.pool.normalize(pixels.to(self.device, non_blocking=True))
            kept = slice(max(0, rows.start - self.batch), max(0, rows.stop - self.batch))
            if kept.stop > kept.start:
                real = torch.cat([real, self.previous[groups, kept]], dim=1)
            yield Block(groups, rows, real)

    def _read_ahead(self, iteration: int) -> Iterable[Tensor]:
        """The stored images of each block of an iteration, from the thread."""
        if self._ahead is None or self._next != iteration:
            self.close()
            seeded = (new_generator(self.seed, "draw", number) for number in itertools.count(iteration))
            following = (block for generator in seeded for block in self._stored(self.draw(generator)))
            self._ahead = ReadAhead(following, self._depth(), self.device)
        self._next = iteration + 1
        return self._ahead

    def _depth(self) -> int:
        """Blocks to read ahead: those of an iteration, within :data:`READ_AHEAD`."""
        groups, rows = self._places[0]
        images = (groups.stop - groups.start) * (rows.stop - rows.start)
        size = images * math.prod(self.pool.shape) * self.pool.images.itemsize
        return min(len(self._places), max(1, READ_AHEAD // size))


def blocks_of(groups: int, rows: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Cut (groups, rows) into blocks of about ``chunk`` images, whole classes or equal parts of one class."""
    together = max(1, chunk // rows)
    part = -(-rows // -(-rows // chunk))
    for first in range(0, groups, together):
        for start in range(0, rows, part):
            yield slice(first, min(first + together, groups)), slice(start, min(start + part, rows))


def _weights(batch: int, fresh: Tensor, held: Tensor) -> Tensor:
    """(G, batch + K): ``fresh`` (G,) is the new images' part of each class, ``held`` (G, K) which rows are there."""
    new = (fresh / batch)[:, None].expand(-1, batch)
    old = (1 - fresh)[:, None] * held / held.sum(1, keepdim=True).clamp_min(1)
    return torch.cat([new, old], dim=1)
