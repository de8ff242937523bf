"""A memory as Avalanche shows it: as the buffers of its replay plugins, its images as items, and as a picture."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from avalanche.benchmarks.utils import (
    AvalancheDataset,
    DataAttribute,
    FlatData,
    TaskAwareSupervisedClassificationDataset,
    TaskLabels,
    TransformGroups,
)
from avalanche.benchmarks.utils.classification_dataset import ClassificationDataset
from avalanche.training.storage_policy import BalancedExemplarsBuffer
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.utils import make_grid

from ..condensed.image_set import ImageSet
from ..replay.memory import CondensedMemory
from ..replay.standardize import to_dtype

__all__ = ["GroupBuffer", "GroupKey", "ItemForm", "MemoryBuffer", "as_dataset", "memory_grid"]


class ItemForm(NamedTuple):
    """What the items (x, y) or (x, y, task label) of an experience are made of.

    Items are collated together with those of the memory, which fails unless they are alike.

    Attributes:
        pixel: type of the images. array: whether they are NumPy arrays and not tensors.
        label, task: type where these are tensors; None for plain numbers.
        tasks: where the task label comes from: "none", an Avalanche "attribute", or the "item" itself.
    """

    pixel: torch.dtype = torch.float32
    array: bool = False
    label: torch.dtype | None = None
    task: torch.dtype | None = None
    tasks: str = "none"

    def with_tasks(self) -> "ItemForm":
        """The same with a task label on every item, as Avalanche's own ClassBalancedBuffer gives them."""
        return self._replace(tasks="attribute") if self.tasks == "none" else self


class _Items(Dataset):
    """Images decoded one by one, on the CPU, without a gradient."""

    def __init__(self, images: ImageSet, tasks: Tensor, form: ItemForm):
        self.images, self.form = images, form
        self.labels, self.tasks = images.image_labels.tolist(), tasks.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple:
        form = self.form
        image = to_dtype(self.images.decode(torch.tensor([row]))[0], form.pixel)
        item = image.numpy() if form.array else image, _number(self.labels[row], form.label)
        return (*item, _number(self.tasks[row], form.task)) if form.tasks == "item" else item


def _number(value: int, dtype: torch.dtype | None) -> int | Tensor:
    return value if dtype is None else torch.tensor(value, dtype=dtype)


def as_dataset(images: ImageSet, tasks: Tensor, form: ItemForm) -> AvalancheDataset:
    """The training images of a condensed set as a dataset without transforms; tasks (N,) are of the stored ones."""
    tasks = tasks.repeat_interleave(images.codec.images_per_stored)
    items = [_Items(images, tasks, form)]
    targets = DataAttribute(images.image_labels.tolist(), "targets")
    groups = TransformGroups({"train": None, "eval": None})
    if form.tasks != "attribute":
        return ClassificationDataset(items, data_attributes=[targets], transform_groups=groups)
    # A plain list of task labels could not be joined with an experience's constant ones.
    labels = TaskLabels(FlatData([tasks.tolist()], can_flatten=False))
    return TaskAwareSupervisedClassificationDataset(items, data_attributes=[targets, labels], transform_groups=groups)


class GroupKey(int):
    """A class of a task: its class as an int, equal only to the same class of the same task."""

    task: int

    def __new__(cls, task: int, label: int):
        key = super().__new__(cls, label)
        key.task = task
        return key

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]
        return self.task, int(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupKey) and self.__getnewargs__() == other.__getnewargs__()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.__getnewargs__())

    def __repr__(self) -> str:
        return f"GroupKey(task={self.task}, label={int(self)})"


class GroupBuffer:
    """One group's images, for plugins that look into ``buffer_groups``: there, items always have task labels."""

    def __init__(self, images: ImageSet, task: int, form: ItemForm):
        self.images, self.task, self.form = images, task, form.with_tasks()
        self.max_size = len(images)

    @property
    def buffer(self) -> AvalancheDataset:
        return as_dataset(self.images, torch.full((self.max_size,), self.task), self.form)


class MemoryBuffer(BalancedExemplarsBuffer):
    """The images of a memory as datasets, whole and by group.

    Attributes:
        memory: the :class:`CondensedMemory`.
    """

    _buffer: AvalancheDataset | None

    def __init__(self, memory: CondensedMemory):
        super().__init__(memory.mem_size or memory.mem_bytes or 0)
        self.memory = memory
        self._form = ItemForm()
        self._of_strategy = False
        self._refresh()

    @property
    def buffer(self) -> AvalancheDataset:
        """All images as one dataset; its items are like those of the data.

        A strategy that holds its buffer itself, as ER_ACE does, draws its mini-batches from the
        buffer alone and takes their task labels for granted: it gets them in any case.
        """
        if self._buffer is None:
            form = self._form.with_tasks() if self._of_strategy else self._form
            full = len(self.memory) > 0
            self._buffer = as_dataset(*self.memory.to_set(), form) if full else AvalancheDataset([])
        return self._buffer

    def resize(self, strategy, new_size: int) -> None:
        """As :meth:`CondensedMemory.resize`, in images or bytes as before."""
        in_bytes = self.memory.mem_bytes is not None
        self.memory.resize(**{"mem_bytes" if in_bytes else "mem_size": new_size})
        self.max_size = self.memory.mem_size or self.memory.mem_bytes or 0
        self._refresh()

    def get_group_lengths(self, num_groups: int) -> list[int]:
        return self.memory.lengths(num_groups)

    def _refresh(self) -> None:
        self._buffer = None
        self.buffer_groups = {
            GroupKey(*key): GroupBuffer(part, key[0], self._form) for key, part in self.memory.groups.items()
        }


def memory_grid(
    memory: CondensedMemory, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Tensor:
    """(3, height, width) in [0, 1]: a row for each group in order of arrival, mosaics as they are stored.

    Images of two channels are shown by their mean, as gray; of more than three by the first three, as RGB. Without mean
    and std, the middle 98% of the values of these span the range from black to white.
    """
    groups = [part.as_stored().images for part in memory.groups.values()]
    if mean is None or std is None:
        groups = [_visible(part) for part in groups]
        values = torch.cat([part.flatten() for part in groups]).sort().values
        low, high = values[int(0.01 * (len(values) - 1))], values[int(0.99 * (len(values) - 1))]
        scale, offset = 1 / (high - low).clamp_min(1e-6), -low / (high - low).clamp_min(1e-6)
    else:
        scale, offset = (torch.tensor(values)[:, None, None] for values in (std, mean))
    groups = [_visible((part * scale + offset).clamp(0, 1)) for part in groups]
    longest = max(map(len, groups))
    tiles = torch.zeros(len(groups), longest, *groups[0].shape[1:])
    for row, part in zip(tiles, groups, strict=True):
        row[: len(part)] = part
    return make_grid(tiles.flatten(0, 1), nrow=longest)


def _visible(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 3, H, W), or (N, 1, H, W) for gray."""
    channels = images.shape[1]
    return images.mean(1, keepdim=True) if channels == 2 else images[:, :3]
