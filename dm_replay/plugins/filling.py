"""Old data that a memory is filled with before a strategy is trained."""

from typing import Any

import torch
from avalanche.benchmarks.utils import AvalancheDataset

from .experience import RealImages

__all__ = ["as_task", "readable"]


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
