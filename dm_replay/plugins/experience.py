"""Reading an experience: all its images, some of them to look at first, and old data that came before any."""

import warnings
from collections.abc import Sequence
from functools import partial
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import torch
from avalanche.benchmarks import OnlineCLExperience
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor
from torch.utils.data import DataLoader

from ..data.pool import TensorPool
from ..replay.waiting import Group
from ..runtime.seeding import undisturbed
from .buffer import ItemForm
from .mini_batches import checked, collated, read_items

__all__ = [
    "READ_BATCH",
    "RealImages",
    "as_pool",
    "as_task",
    "check_train_size",
    "at_boundary",
    "groups_of",
    "groups_of_all",
    "hides_boundaries",
    "inspect",
    "read",
    "readable",
    "some_images",
    "warn_if_random",
]

LOOK = 16  # images; where each has a size of its own, two are enough
READ_BATCH = 64  # images
REREAD = 16  # images; a random flip leaves all of them as they were once in 65,000 times


class RealImages(NamedTuple):
    """Images (N, C, H, W) uint8 or float32, labels (N,) and task labels (N,), on the CPU.

    ``form`` is that of the items; where they carry no task labels, the task is 0. ``groups`` are those present.
    """

    images: Tensor
    labels: Tensor
    tasks: Tensor
    form: ItemForm
    groups: frozenset[Group]

    @classmethod
    def join(cls, parts: "Sequence[RealImages]") -> "RealImages":
        if len(parts) == 1:
            return parts[0]
        images, labels, tasks, forms, groups = zip(*parts, strict=True)
        return cls(torch.cat(images), torch.cat(labels), torch.cat(tasks), forms[-1], frozenset().union(*groups))

    def pools(self) -> dict[int, TensorPool]:
        """The images by task, in the values that the experience has; their pixels are shared."""
        present = self.tasks.unique().tolist()
        rows = {task: None if len(present) == 1 else (self.tasks == task).nonzero()[:, 0] for task in present}
        return {task: as_pool(self.images, self.labels, own) for task, own in rows.items()}


def as_pool(images: Tensor, labels: Tensor, rows: Tensor | None = None) -> TensorPool:
    """A pool of some rows that gives the values as they are: uint8 pixels, which it would divide by 255, too."""
    labels = labels if rows is None else labels[rows]
    if images.dtype != torch.uint8:
        return TensorPool(images, labels, rows=rows)
    channels = images.shape[1]
    return TensorPool(images, labels, mean=[0.0] * channels, std=[1 / 255] * channels, rows=rows)


def inspect(dataset: AvalancheDataset) -> tuple[tuple[int, int, int], ItemForm]:
    """The shape (C, H, W) of an Avalanche dataset's images and the form of its items, by the first of them.

    Raises:
        ValueError: the dataset is empty, or its items cannot be condensed.
    """
    if len(dataset) == 0:
        raise ValueError("expected an experience with at least one image, got an empty one")
    dataset = dataset.eval()
    item = dataset[0]
    images, *_ = checked(collated(dataset.collate_fn, [item]))
    label, *task = (part.dtype if isinstance(part, Tensor) else None for part in item[1:])
    tasks = "none" if not task else "attribute" if hasattr(dataset, "targets_task_labels") else "item"
    channels, height, width = images.shape[1:]
    form = ItemForm(images.dtype, isinstance(item[0], np.ndarray), label, task[0] if task else None, tasks)
    return (channels, height, width), form


def read(dataset: AvalancheDataset, num_workers: int = 0) -> RealImages:
    """Every item (x, y) or (x, y, task label) of an Avalanche dataset, in its eval mode.

    The dataset's own collate function is used; the global random generator is left alone. The
    images are kept once: as uint8 where they come so, else as float32.
    """
    shape, form = inspect(dataset)
    dataset = dataset.eval()
    loader = DataLoader(
        dataset,
        batch_size=READ_BATCH,
        collate_fn=partial(collated, dataset.collate_fn),
        num_workers=num_workers,
        generator=torch.Generator(),
    )
    kept = torch.uint8 if form.pixel == torch.uint8 else torch.float32
    real = torch.empty(len(dataset), *shape, dtype=kept)
    labels, tasks = torch.zeros(2, len(dataset), dtype=torch.long)
    first = 0
    for batch in loader:
        images, *numbers = checked(batch)
        if tuple(images.shape[1:]) != shape:
            raise ValueError(f"expected images of one shape, got {shape} and {tuple(images.shape[1:])}")
        rows = slice(first, first + len(images))
        _check_finite(images, numbers[0], first)
        real[rows] = images
        for whole, part in zip((labels, tasks), numbers, strict=False):
            whole[rows] = part
        first = rows.stop
    groups = torch.stack([tasks, labels], 1).unique(dim=0).tolist()
    return RealImages(real, labels, tasks, form, frozenset(map(tuple, groups)))


def _check_finite(images: Tensor, labels: Tensor, first: int) -> None:
    bad = (~images.isfinite().flatten(1).all(1)).nonzero()[:, 0].tolist()
    if bad:
        image, label = first + bad[0], int(labels[bad[0]])
        raise ValueError(f"image {image} of the experience, of class {label}, holds NaN or infinite values")


def groups_of(dataset: AvalancheDataset, form: ItemForm) -> set[Group]:
    """The (task, class) groups of an Avalanche dataset by its attributes, no image being read."""
    targets = getattr(dataset, "targets", ())
    if form.tasks == "item":
        return set()  # known only when all items are read
    tasks = getattr(dataset, "targets_task_labels", repeat(0))
    try:
        groups = {(int(task), int(target)) for task, target in zip(tasks, targets, strict=False)}
    except (TypeError, ValueError):
        return set()  # a transform makes the numbers that the items have
    for row, target in enumerate(targets) if any(target < 0 for _, target in groups) else ():
        if int(target) < 0:
            read_items(dataset.eval(), [row])  # which raises, unless a transform makes another number of it
    return groups


def warn_if_random(dataset: AvalancheDataset) -> None:
    """Read a few items twice, each time as one mini-batch; if the images differ, warn."""
    dataset = dataset.eval()
    rows = torch.linspace(0, len(dataset) - 1, min(REREAD, len(dataset))).long().tolist()
    once, again = (torch.as_tensor(collated(dataset.collate_fn, [dataset[row] for row in rows])[0]) for _ in range(2))
    if not torch.equal(once.nan_to_num(), again.nan_to_num()):
        warnings.warn(
            "the experience's images differ each time they are read, so augmented images are "
            "condensed. Transforms inside a torchvision dataset cannot be switched off: pass "
            "train_transform and eval_transform to the benchmark instead",
            stacklevel=2,
        )


def some_images(dataset: AvalancheDataset) -> Tensor:
    """A few images (M, C, H, W) uint8 or float32, evenly spaced, in eval mode.

    The global random generators are left alone.

    Raises:
        ValueError: if they cannot be condensed, are of several sizes or not finite.
    """
    rows = torch.linspace(0, len(dataset) - 1, min(LOOK, len(dataset))).long().tolist()
    with undisturbed():
        images = [read_items(dataset.eval(), [row])[0] for row in rows]
    for row, image in zip(rows, images, strict=True):
        if image.shape != images[0].shape:
            sizes = f"image 0 has {tuple(images[0].shape[1:])}, image {row} {tuple(image.shape[1:])}"
            raise ValueError(f"expected images of one shape after the eval transforms: {sizes}")
        if not image.isfinite().all():
            raise ValueError(f"image {row} of the experience holds NaN or infinite values")
    whole = torch.cat(images)
    return whole if whole.dtype == torch.uint8 else whole.float()


def check_train_size(dataset: AvalancheDataset, shape: Sequence[int]) -> None:
    """ValueError unless train transforms give images of the shape that eval transforms give, (C, H, W).

    Mini-batches are of both: current images come from the ones, the memory's from the others.
    """
    with undisturbed():
        trained = tuple(read_items(dataset.train(), [0])[0].shape[1:])
    if trained != tuple(shape):
        raise ValueError(
            f"images are {trained} after the train transforms and {tuple(shape)} after the eval transforms, which the "
            "memory keeps: mini-batches of both need one shape"
        )


def readable(dataset: Any) -> AvalancheDataset:
    """A dataset of Avalanche, or any other of items (x, y) or (x, y, task label), as one of Avalanche.

    Raises:
        ValueError: if it is neither.
    """
    if isinstance(dataset, AvalancheDataset):
        return dataset
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise ValueError(f"expected a dataset with a length, of items (x, y), got a {type(dataset).__name__}")
    return AvalancheDataset([dataset])


def as_task(real: RealImages, task: int | None) -> RealImages:
    """The images as those of a task, 0 where None is given; where the items say their task, it has to be None.

    Raises:
        ValueError: otherwise.
    """
    if task is None:
        return real
    if real.form.tasks != "none":
        raise ValueError(f"the items of the dataset have task labels of their own, got also task {task}")
    groups = frozenset((task, label) for _, label in real.groups)
    return real._replace(tasks=torch.full_like(real.tasks, task), groups=groups)


def groups_of_all(parts: list[RealImages]) -> set[tuple[int, int]]:
    return set().union(*(part.groups for part in parts))


def hides_boundaries(exp) -> bool:
    return isinstance(exp, OnlineCLExperience) and not exp.access_task_boundaries


def at_boundary(exp, which: str) -> bool:
    """A whole experience begins and ends at one; a part of an online stream says for itself."""
    if isinstance(exp, OnlineCLExperience):
        return exp.access_task_boundaries and getattr(exp, which)
    return True
