"""ReplayLoader: the mini-batches of any loader, each followed by augmented memory images."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from ..augment.siamese import SiameseAugment
from ..condensed.condensed_set import CondensedSet
from ..condensed.quantize import dequantize
from ..runtime.seeding import new_generator

__all__ = ["ReplayLoader"]


class ReplayLoader:
    """Appends ``rows`` images of a memory to every mini-batch of ``data``.

    The memory waits on ``device`` as uint8. Its images are decoded, augmented and appended there:
    no worker, pinning or collate function ever sees them, and ``data`` keeps its own. They are
    dealt from one shuffled pass over the memory after another, without end. So every batch has
    as many, whatever the memory's size, and no image is ever more than one turn ahead.

    Args:
        data: mini-batches (x, y) or (x, y, task label); it alone decides how long an epoch is.
        memory: uint8 images with labels. tasks: (N,), the task label of each.
        rows: memory images in each mini-batch, its last ones.
        augment: drawn for each image anew; None for no augmentation.
        shuffle: whether each pass has a new order.
        task_balanced: as many images of each task as of every other.

    >>> import torch
    >>> from dm_replay import CondensedSet
    >>> from dm_replay.replay.loader import ReplayLoader
    >>> memory = CondensedSet.from_images(torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), storage="uint8")
    >>> current = [(torch.rand(6, 1, 8, 8), torch.full((6,), 2))]
    >>> ((x, y),) = ReplayLoader(current, memory, torch.zeros(4).long(), rows=4, shuffle=False)
    >>> x.shape, y.tolist()
    (torch.Size([10, 1, 8, 8]), [2, 2, 2, 2, 2, 2, 0, 0, 1, 1])
    """

    def __init__(
        self,
        data: Iterable,
        memory: CondensedSet,
        tasks: Tensor,
        rows: int,
        *,
        augment: SiameseAugment | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        shuffle: bool = True,
        task_balanced: bool = False,
    ):
        self.data, self.rows, self.augment, self.device = data, rows, augment, torch.device(device)
        self.stored = [part.to(device) for part in (memory.pixels, memory.scale, memory.offset)]
        self.labels, self.tasks = memory.labels.to(device), tasks.to(device)
        self._generator = new_generator(seed, "augment")
        shared = tasks if task_balanced else torch.zeros_like(tasks)
        self._turns = _balanced_deal(shared, rows, new_generator(seed, "deal") if shuffle else None)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self.data:
            if len(batch) not in (2, 3):
                raise ValueError(f"expected mini-batches (x, y) or (x, y, task), got {len(batch)} parts")
            current = [part.to(self.device, non_blocking=True) for part in batch]
            images, *labels = self.replayed(next(self._turns).to(self.device))
            if current[0].is_floating_point():
                images = images.to(current[0].dtype)
            yield [torch.cat(pair) for pair in zip(current, (images, *labels), strict=False)]

    def replayed(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The memory's (x, y, task label) of some rows (M,), x augmented."""
        images = dequantize(*(part[rows] for part in self.stored))
        if self.augment is not None:
            params = self.augment.sample(len(rows), images.shape[2:], self._generator).to(self.device)
            images = self.augment.apply(images[:, None], params)[:, 0]
        return images, self.labels[rows], self.tasks[rows]


def _balanced_deal(tasks: Tensor, size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Endless rows (size,), equal parts of every task; the first tasks take what is left over."""
    present = tasks.unique().tolist()
    if size < len(present):
        raise ValueError(f"batch_size_mem must be at least 1 for each of {len(present)} tasks, got {size}")
    parts = [-((first - size) // len(present)) for first in range(len(present))]
    deals = [_deal((tasks == task).nonzero()[:, 0], part, generator) for task, part in zip(present, parts, strict=True)]
    return (torch.cat(hands) for hands in zip(*deals, strict=True))


def _deal(rows: Tensor, size: int, generator: torch.Generator | None) -> Iterator[Tensor]:
    """Endless parts (size,) of one pass over ``rows`` after another, shuffled by ``generator``."""
    left = rows[:0]
    while True:
        while len(left) < size:
            order = slice(None) if generator is None else torch.randperm(len(rows), generator=generator)
            left = torch.cat([left, rows[order]])
        yield left[:size]
        left = left[size:]
