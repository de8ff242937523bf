"""ReplayLoader: the mini-batches of any loader, each followed by augmented memory images."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..augment.siamese import AugmentParams, SiameseAugment
from ..condensed.image_set import ImageSet
from ..condensed.stored import Packed
from ..condensed.tiles import Tiles
from ..runtime.hardware import cpu_by_default
from ..runtime.seeding import new_generator
from .standardize import to_dtype

__all__ = ["Batches", "ReplayLoader", "Transform", "check_transform"]

Transform = Callable[[Tensor], Tensor]
TRIED = 2  # images, by which a transform is tried
PIXELS = 256 * 64 * 64  # that are decoded and augmented at a time


class Batches(Protocol):
    """Mini-batches to be gone through again and again."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator: ...


@cpu_by_default
class ReplayLoader:
    """Appends ``rows`` images of a memory to every mini-batch of ``data``.

    The memory waits on ``device`` as uint8. Its images are decoded, augmented and appended there:
    no worker, pinning or collate function ever sees them, and ``data`` keeps its own. They are
    dealt from one shuffled pass over its training images after another, without end. So every batch has
    as many, whatever the memory's size, and no image is ever more than one turn ahead. They come
    in the type of the current ones; integers are rounded and kept within their range.

    If the memory's images are rough, a network learns to tell old classes from new ones by that, and test images are
    sharp. So a part of the current images can be made as rough.

    Args:
        data: mini-batches (x, y) or (x, y, task label); it alone decides how long an epoch is.
        memory: images with labels. tasks: (N,), the task label of each stored image.
        rows: memory images in each mini-batch, its last ones.
        augment: drawn for each image anew; None for no augmentation. It acts before the memory's ``affine``, so that it
            does the same whatever scale a stream comes in.
        transform: of the memory images of a mini-batch, (M, C, H, W) float32 in the values of ``data`` on the device,
            once they are augmented. It gives as many of the size that the current ones have.
        shuffle: whether each pass has a new order.
        task_balanced: as many images of each task as of every other.
        match_resolution: the part of the current images, 0 to 1, that is made as rough as the memory's.

    >>> import torch
    >>> from dm_replay import ImageSet
    >>> from dm_replay.replay.loader import ReplayLoader
    >>> memory = ImageSet.from_images(torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]))
    >>> current = [(torch.rand(6, 1, 8, 8), torch.full((6,), 2))]
    >>> ((x, y),) = ReplayLoader(current, memory, torch.zeros(4).long(), rows=4, shuffle=False)
    >>> x.shape, y.tolist()
    (torch.Size([10, 1, 8, 8]), [2, 2, 2, 2, 2, 2, 0, 0, 1, 1])
    """

    def __init__(
        self,
        data: Batches,
        memory: ImageSet,
        tasks: Tensor,
        rows: int,
        *,
        augment: SiameseAugment | None = None,
        transform: Transform | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        shuffle: bool = True,
        task_balanced: bool = False,
        match_resolution: float = 0.0,
    ):
        self.data, self.rows, self.augment, self.device = data, rows, augment, torch.device(device)
        tasks = tasks.repeat_interleave(memory.codec.images_per_stored)
        self._kept = memory.select(torch.arange(1)).to(device)  # at the memory's resolution, as read ones are not
        self.match_resolution = 0.0 if memory.codec.full(memory.shape) else match_resolution
        memory = _unpacked(memory)
        memory = memory.folded() if augment is None else memory
        self.memory, self.transform, self.seen = memory.to(device), transform, 0
        self.labels, self.tasks = self.memory.image_labels, tasks.to(device)
        self.seed, self.batches = seed, 0
        shared = tasks if task_balanced else torch.zeros_like(tasks)
        self._hands = _hands(shared, rows, seed if shuffle else None)

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[list[Tensor]]:
        for batch in self.data:
            if len(batch) not in (2, 3):
                raise ValueError(f"expected mini-batches (x, y) or (x, y, task), got {len(batch)} parts")
            current = [part.to(self.device, non_blocking=True) for part in batch]
            images, *labels = self.replayed(torch.cat([hand.deal() for hand in self._hands]).to(self.device))
            images = to_dtype(images, current[0].dtype)
            if images.shape[1:] != current[0].shape[1:]:
                sizes = f"{tuple(images.shape[1:])}, the current ones {tuple(current[0].shape[1:])}"
                raise ValueError(f"expected images of one shape, those of the memory are {sizes}")
            current[0] = self._partly_resampled(current[0])
            yield [torch.cat(pair) for pair in zip(current, (images, *labels), strict=False)]

    def _partly_resampled(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) with some of them, spread evenly over mini-batches, too, at the memory's resolution."""
        turns = (
            torch.arange(self.seen, self.seen + len(images) + 1, dtype=torch.float64) * self.match_resolution
        ).floor()
        self.seen += len(images)
        rows = turns.diff().nonzero()[:, 0].to(images.device)
        if not len(rows):
            return images
        found = to_dtype(self._kept.resample(images[rows].float()), images.dtype)
        return images.index_copy(0, rows, found)

    def replayed(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The memory's (x, y, task label) of some training images (M,), x augmented; the next draw at each call."""
        params = None
        if self.augment is not None:
            generator = new_generator(self.seed, "augment", self.batches)
            params = self.augment.sample(len(rows), self.memory.shape[1:], generator).to(self.device)
        together = max(1, PIXELS // math.prod(self.memory.shape[1:]))
        parts = [slice(first, first + together) for first in range(0, len(rows), together)]
        images = torch.cat([self._augmented(rows[part], params and params.take(part)) for part in parts])
        if self.transform is not None:
            images = _transformed(self.transform, images)
        self.batches += 1
        return images, self.labels[rows], self.tasks[rows]

    def _augmented(self, rows: Tensor, params: AugmentParams | None) -> Tensor:
        images = self.memory.decode_before_affine(rows)
        if self.augment is not None and params is not None:
            images = self.augment.apply(images[:, None], params)[:, 0]
        return self.memory.mapped(images)


@cpu_by_default
class _Hand:
    """Endless parts (size,) of one pass over ``rows`` after another, each in a new order unless the seed is None.

    Its state is numbers and tensors, so that a strategy can be copied while it trains.
    """

    def __init__(self, rows: Tensor, size: int, seed: int | None, number: int):
        self.rows, self.size, self.seed, self.number = rows, size, seed, number
        self.left, self.passes = rows[:0], 0

    def deal(self) -> Tensor:
        while len(self.left) < self.size:
            self.left = torch.cat([self.left, self._one_pass()])
        dealt, self.left = self.left[: self.size], self.left[self.size :]
        return dealt

    def _one_pass(self) -> Tensor:
        self.passes += 1
        if self.seed is None:
            return self.rows
        generator = new_generator(self.seed, "deal", self.number, self.passes)
        return self.rows[torch.randperm(len(self.rows), generator=generator)]


def _unpacked(memory: ImageSet) -> ImageSet:
    """The same training images, to rounding to bytes, where reading stored ones takes long."""
    if not memory.codec.slow:
        return memory
    height, width = memory.shape[1:]
    codec = Tiles(tiles=1, resolution=max(height, width), storage="uint8").fit(memory.shape)
    parts = torch.arange(memory.decoded, device=memory.labels.device).split(max(1, PIXELS // (height * width)))
    stored = Packed.join([Packed.of(memory.decode_before_affine(rows), codec.storage) for rows in parts])
    return replace(memory, stored=stored, labels=memory.image_labels, codec=codec)


def _hands(tasks: Tensor, size: int, seed: int | None) -> list[_Hand]:
    """Together they deal ``size`` rows, equal parts of every task; the first tasks take what is left over."""
    present = tasks.unique().tolist()
    if size < len(present):
        raise ValueError(f"batch_size_mem must be at least 1 for each of {len(present)} tasks, got {size}")
    parts = [-((first - size) // len(present)) for first in range(len(present))]
    return [
        _Hand((tasks == task).nonzero()[:, 0], part, seed, number)
        for number, (task, part) in enumerate(zip(present, parts, strict=True))
    ]


def check_transform(transform: Transform, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> None:
    """Try it on black images (C, H, W) on the device; random generators of torch are as they were.

    Raises:
        ValueError: as :func:`_transformed`.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(cuda):
        _transformed(transform, torch.zeros(TRIED, *shape, device=device))


@torch.no_grad()
def _transformed(transform: Transform, images: Tensor) -> Tensor:
    """(M, C, H, W) float32 -> (M, C, H', W'), transformed.

    Raises:
        ValueError: if it fails, or gives something else.
    """
    given = tuple(images.shape)
    try:
        found = transform(images)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"transform failed on images {given}: {type(error).__name__}: {reason}") from error
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[:2] != images.shape[:2]:
        got = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ValueError(f"transform must give as many images of as many channels, got {got} for {given}")
    if found.device != images.device:
        raise ValueError(f"transform must leave images on {images.device}, got them on {found.device}")
    return found
