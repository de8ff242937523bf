"""Reading an experience: its images as a model meets them at test time, with labels and tasks."""

import warnings
from collections.abc import Iterable
from itertools import repeat
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.pool import TensorPool

__all__ = ["RealImages", "groups_of", "read", "warn_if_random"]

READ_BATCH = 256  # images
REREAD = 16  # images; a random flip leaves all of them as they were once in 65,000 times


class RealImages(NamedTuple):
    """Images (N, C, H, W) float32, labels (N,) and task labels (N,), on the CPU.

    ``task_aware`` says whether the items carry task labels; where they don't, the task is 0.
    """

    images: Tensor
    labels: Tensor
    tasks: Tensor
    task_aware: bool

    @classmethod
    def join(cls, parts: "Iterable[RealImages]") -> "RealImages":
        images, labels, tasks, aware = zip(*parts, strict=True)
        return cls(torch.cat(images), torch.cat(labels), torch.cat(tasks), aware[-1])

    def pools(self) -> dict[int, TensorPool]:
        """The images by task."""
        rows = {task: self.tasks == task for task in self.tasks.unique().tolist()}
        return {task: TensorPool(self.images[own], self.labels[own]) for task, own in rows.items()}


def read(dataset: Dataset, num_workers: int = 0) -> RealImages:
    """Every item (x, y) or (x, y, task label) of an Avalanche dataset, in its eval mode.

    The dataset's own collate function is used; the global random generator is left alone.
    """
    if len(dataset) == 0:
        raise ValueError("expected an experience with at least one image, got an empty one")
    dataset = dataset.eval()
    image = dataset[0][0]
    if not isinstance(image, Tensor | np.ndarray):
        raise ValueError(
            f"expected tensors after the eval transforms, got {type(image).__name__}: "
            "give the benchmark an eval_transform that ends in a tensor"
        )
    loader = DataLoader(
        dataset,
        batch_size=READ_BATCH,
        collate_fn=dataset.collate_fn,
        num_workers=num_workers,
        generator=torch.Generator(),
    )
    return RealImages.join(map(_unpack, loader))


def groups_of(dataset: Dataset) -> set[tuple[int, int]]:
    """The (task, class) groups of an Avalanche dataset by its attributes, no image being read."""
    targets = getattr(dataset, "targets", ())
    tasks = getattr(dataset, "targets_task_labels", repeat(0))
    return {(int(task), int(target)) for task, target in zip(tasks, targets, strict=False)}


def warn_if_random(dataset: Dataset, images: Tensor) -> None:
    """Read a few items again; if they differ from ``images`` (N, C, H, W), warn."""
    dataset = dataset.eval()
    rows = torch.linspace(0, len(images) - 1, min(REREAD, len(images))).long().tolist()
    if any(not torch.equal(_float(dataset[row][0]), images[row]) for row in rows):
        warnings.warn(
            "the experience's images differ each time they are read, so augmented images are "
            "condensed. Transforms inside a torchvision dataset cannot be switched off: pass "
            "train_transform and eval_transform to the benchmark instead",
            stacklevel=2,
        )


def _unpack(batch: list[Tensor]) -> RealImages:
    if len(batch) not in (2, 3):
        raise ValueError(f"expected items (x, y) or (x, y, task label), got {len(batch)} parts")
    labels, *tasks = (part.cpu().long() for part in batch[1:])
    return RealImages(_float(batch[0]), labels, *(tasks or [torch.zeros_like(labels)]), bool(tasks))


def _float(images: Tensor | np.ndarray) -> Tensor:
    return torch.as_tensor(images).detach().cpu().float()
