"""Handing out condensed images as items like those of the experiences they came from."""

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
from torch import Tensor
from torch.utils.data import Dataset

from ..condensed.image_set import ImageSet
from ..replay.standardize import to_dtype

__all__ = ["ItemForm", "as_dataset"]


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
