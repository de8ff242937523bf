"""What a memory of a fixed size holds: images of each class seen, within so many images or so many bytes."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ..condensed.codec import Codec, Shape
from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool
from ..runtime.hardware import cpu_by_default
from ..runtime.settings import whole_number
from .job import Group
from .standardize import Standardization, check_scale
from .waiting import Waiting, cut

__all__ = ["Contents", "dealt"]

FLOAT = 4  # bytes


@cpu_by_default
class Contents:
    """Images of classes, at most so many stored ones or so many bytes.

    Args:
        mem_size: images in all. mem_bytes: bytes in all, instead. ipc: a fixed number for each group.
        codec: how images are stored, with what it leaves open until the first come. Those that are held keep it,
            whatever the size becomes.

    Attributes:
        held: the set of each (task, class), in order of arrival, standardized. waiting: the real ones among them that
            wait. standardization: between the stream's values and those held.

    Raises:
        ValueError: for a size below 1, both sizes or neither, or an ``ipc`` that does not fit.
    """

    def __init__(self, mem_size: int | None, mem_bytes: int | None, ipc: int | None, codec: Codec):
        if (mem_size is None) == (mem_bytes is None):
            raise ValueError(f"give mem_size or mem_bytes, got {mem_size} and {mem_bytes}")
        self.mem_size = None if mem_size is None else whole_number("mem_size", mem_size, 1)
        self.mem_bytes = None if mem_bytes is None else whole_number("mem_bytes", mem_bytes, 1)
        self.ipc = None if ipc is None else whole_number("ipc", ipc, 1)
        if self.ipc is not None and self.mem_size is not None and self.ipc > self.mem_size:
            raise ValueError(f"ipc must lie between 1 and mem_size {mem_size}, got {ipc}")
        self.codec = codec
        self.held: dict[Group, ImageSet] = {}
        self.waiting: dict[Group, Waiting] = {}
        self.standardization: Standardization | None = None

    def fitted(self, shape: Shape) -> Codec:
        """The codec of images (C, H, W), with what it leaves open chosen for the memory; values have a byte."""
        codec = self.codec.or_stored_as("uint8")
        return (codec if self.mem_bytes is None else codec.for_memory(shape, self.mem_bytes)).fit(shape)

    def capacity(self, shape: Shape | None = None) -> int:
        """How many stored images it may hold; where each has bytes of its own, about how many natural ones.

        Args:
            shape: (C, H, W); where bytes are counted and nothing is held yet, it has to be given.

        Raises:
            ValueError: if it is not.
        """
        if self.mem_bytes is None:
            return self._room(0)
        known = self._known(shape)
        return self._room(known[0]) // self.fitted(known).usual_nbytes(known)

    def lengths(self, groups: int, shape: Shape | None = None) -> list[int]:
        """The shares of that many groups in order of arrival, about, where each image has bytes of its own.

        Raises:
            ValueError: if they do not fit.
        """
        need, size, fit = groups * (self.ipc or 1), self.capacity(shape), self._certain(shape)
        if need > size or groups > fit:
            whole = f"mem_size {size}" if self.mem_bytes is None else f"mem_bytes {self.mem_bytes}, of {fit} images,"
            many = f"{groups} classes of {self.ipc or 'at least 1'} images"
            raise ValueError(f"{whole} cannot hold {many}: it must be at least {self._least(groups, need, shape)}")
        return [self.ipc or -((first - size) // groups) for first in range(groups)]

    def _certain(self, shape: Shape | None) -> int:
        """Stored images that fit whatever they are."""
        if self.mem_bytes is None:
            return self._room(0)
        known = self._known(shape)
        return self._room(known[0]) // self.fitted(known).nbytes(known)

    def _least(self, groups: int, images: int, shape: Shape | None) -> int:
        """The size that holds so many images of natural ones, and one of each group whatever it is."""
        if self.mem_bytes is None:
            return images
        known = self._known(shape)
        codec = self.fitted(known)
        return 2 * FLOAT * known[0] + max(images * codec.usual_nbytes(known), groups * codec.nbytes(known))

    def _room(self, channels: int) -> int:
        """Stored images, or bytes without those of the standardization."""
        if self.mem_bytes is not None:
            return max(0, self.mem_bytes - 2 * FLOAT * channels)
        assert self.mem_size is not None
        return self.mem_size

    def _known(self, shape: Shape | None) -> Shape:
        shape = shape or self.shape
        if shape is None:
            raise ValueError("how many images mem_bytes hold depends on their shape, and none have come yet")
        return shape

    def __len__(self) -> int:
        return sum(map(len, self.held.values()))

    @property
    def nbytes(self) -> int:
        """Bytes of the stored images and of the standardization, labels apart."""
        shared = 0 if self.standardization is None else self.standardization.nbytes
        return shared + sum(part.nbytes for part in self.held.values())

    @property
    def counts(self) -> dict[Group, int]:
        """How many real images each group stands for."""
        return {group: int(part.counts) for group, part in self.held.items()}

    @property
    def groups(self) -> dict[Group, ImageSet]:
        """The set of each (task, class), in order of arrival, in the stream's values."""
        if self.standardization is None:
            return {}
        return {group: self.standardization.leave(part) for group, part in self.held.items()}

    def to_set(self) -> tuple[ImageSet, Tensor]:
        """All images in one set, group by group, in the stream's values, and the task (N,) of each."""
        tasks = [task for (task, _), part in self.held.items() for _ in range(len(part))]
        images = ImageSet.merge(list(self.held.values()))
        return images if self.standardization is None else self.standardization.leave(images), torch.tensor(tasks)

    @property
    def shape(self) -> Shape | None:
        """(C, H, W) of the images held, if any are."""
        return next((part.shape for part in self.held.values()), None)

    def shares(self, incoming: Iterable[Group], shape: Shape | None = None) -> dict[Group, int]:
        """The share of every group once the incoming ones, of images (C, H, W), have joined; ValueError likewise."""
        joined = list(dict.fromkeys([*self.held, *incoming]))
        return dict(zip(joined, self.lengths(len(joined), shape), strict=True)) if joined else {}

    def sizes(self, limits: Mapping[Group, int], shape: Shape, size: int | None = None) -> dict[Group, int]:
        """Stored images of every group, at most ``limits`` of those that come in and what is held of the others.

        Args:
            size: stored images in all, where each has bytes of its own; by default the capacity.
        """
        every = {group: len(part) for group, part in self.held.items()} | dict(limits)
        if self.ipc is not None:
            return {group: min(limit, self.ipc) for group, limit in every.items()}
        size = self.capacity(shape) if size is None else size
        return dict(zip(every, dealt(size, [torch.ones(limit) for limit in every.values()]), strict=True))

    def planned(self, images: Tensor) -> int:
        """How many stored images to make room for, where they will be like these, (N, C, H, W): rather too many, since
        what does not fit is cut."""
        channels, height, width = images.shape[1:]
        few = [self.fitted((channels, height, width)).few_nbytes(images)]
        few += [int(part.stored.costs.double().mean()) for part in self.held.values()]
        return self._room(channels) // min(few)

    def resize(self, mem_size: int | None = None, *, mem_bytes: int | None = None) -> None:
        """A smaller size cuts every group now; a larger one serves the updates from now on.

        Raises:
            ValueError: if the groups do not fit.
        """
        resized = Contents(mem_size, mem_bytes, self.ipc, self.codec)
        if self.held:
            resized.lengths(len(self.held), self.shape)
        self.mem_size, self.mem_bytes = resized.mem_size, resized.mem_bytes
        if self.shape and self.standardization:
            self.settle(self.held, self.standardization, self.waiting)

    def check_shapes(self, shapes: Iterable[tuple[int, ...]]) -> Shape:
        """The one shape (C, H, W) of these and of the images held.

        Raises:
            ValueError: unless it is one, and such images can be stored.
        """
        found = sorted({tuple(shape) for shape in shapes} | ({self.shape} if self.shape else set()))
        if len(found) != 1:
            raise ValueError(f"expected images of one shape, got {found or 'none'}")
        channels, height, width = found[0]
        self.fitted((channels, height, width))
        return channels, height, width

    def check_scale(self, pools: Iterable[TensorPool]) -> None:
        """ValueError if the pools' images are in another scale than those held, see :func:`check_scale`."""
        if self.standardization is not None:
            check_scale(self.standardization, list(self.held.values()), pools)

    def settle(
        self,
        groups: Mapping[Group, ImageSet],
        space: Standardization,
        waiting: Mapping[Group, Waiting] = MappingProxyType({}),
        limits: Mapping[Group, int] = MappingProxyType({}),
    ) -> None:
        """Take of these images what fits, of each group at most its limit, if it has one."""
        parts = {group: (part, waiting.get(group, Waiting())) for group, part in groups.items()}
        sizes = {group: min(limits.get(group, len(part)), self.ipc or len(part)) for group, part in groups.items()}
        while True:
            parts = {group: cut(*parts[group], size) for group, size in sizes.items()}
            costs, room = [self._costs(part) for part, _ in parts.values()], self._room(len(space.mean))
            if sum(float(own.sum()) for own in costs) <= room:
                break
            sizes = dict(zip(parts, dealt(room, costs), strict=True))
        self.held = {group: part for group, (part, _) in parts.items()}
        self.codec = next((part.codec for part in self.held.values()), self.codec)
        self.waiting = {group: images for group, (_, images) in parts.items() if images.stored}
        self.standardization = space

    def _costs(self, part: ImageSet) -> Tensor:
        """What each image takes of the memory."""
        return torch.ones(len(part)) if self.mem_bytes is None else part.stored.costs


def dealt(size: int, costs: Sequence[Tensor]) -> list[int]:
    """How many of its things each may keep, the first of them, where they may cost ``size`` together.

    In the order in which they are given away, first each one's first thing, then whatever takes its owner the least in
    all. Of less of it everybody keeps a part of what he would keep of more.

    >>> import torch
    >>> from dm_replay.replay.contents import dealt
    >>> dealt(11, [torch.ones(many) for many in (9, 1, 9, 9)])
    [4, 1, 3, 3]
    >>> dealt(11, [torch.tensor([3, 3, 3]), torch.tensor([1, 1, 1, 1])])
    [2, 4]
    """
    owners = torch.repeat_interleave(torch.tensor([len(own) for own in costs]))
    if not len(owners):
        return [0] * len(costs)
    each = torch.cat(list(costs)).double()
    ends = torch.cat([own.double().cumsum(0) for own in costs])
    later = torch.cat([torch.arange(len(own)) for own in costs]) > 0
    order = torch.from_numpy(np.lexsort((owners.numpy(), ends.numpy(), later.numpy())))
    kept = order[each[order].cumsum(0) <= size]
    return owners[kept].bincount(minlength=len(costs)).tolist()
