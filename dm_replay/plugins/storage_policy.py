"""CondensedBuffer: a CondensedMemory as Avalanche's replay plugins know their buffers."""

from dataclasses import fields, replace
from time import perf_counter
from typing import Any

import torch
from avalanche.benchmarks import OnlineCLExperience
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
from tqdm import tqdm

from ..condensed.condensed_set import CondensedSet
from ..condensed.quantize import dequantize
from ..matching.condense import Progress
from ..matching.config import CondenseConfig
from ..replay.memory import DEFAULT, CondensedMemory
from .experience import RealImages, groups_of, read, warn_if_random

__all__ = ["CondensedBuffer", "GroupKey"]


class GroupKey(int):
    """A class of a task: its class as an int, equal only to the same class of the same task."""

    def __new__(cls, task: int, label: int):
        key = super().__new__(cls, label)
        key.task = task
        return key

    def __getnewargs__(self) -> tuple[int, int]:
        return self.task, int(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GroupKey) and self.__getnewargs__() == other.__getnewargs__()

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.__getnewargs__())

    def __repr__(self) -> str:
        return f"GroupKey(task={self.task}, label={int(self)})"


class CondensedBuffer(BalancedExemplarsBuffer):
    """A replay buffer of condensed images, for any plugin that takes a ``storage_policy``.

    A mini-experience of an online stream is set aside; the stream is condensed at its task
    boundaries or, where it hides them, whenever ``max_size`` images have come together.

    Args:
        max_size: images in all.
        ipc: a fixed number of images per class; by default the classes seen share ``max_size``.
        config: how to condense; or give its fields as keywords, such as ``iterations=2000``. The
            default of 200 iterations is for the patience of CPU users; on a GPU take 2,000 to
            20,000. Leave ``flip`` out of ``augment`` where mirror images mean something else.
        seed: of everything random in the memory and its replay.
        progress: whether to show a bar while condensing (on a terminal only).

    Attributes:
        memory: the :class:`CondensedMemory`. seconds: how long its last update took.

    Raises:
        ValueError: for a size below 1, or an unknown or bad setting.

    >>> from avalanche.training.plugins import ReplayPlugin
    >>> from dm_replay import CondensedBuffer
    >>> ReplayPlugin(mem_size=200, storage_policy=CondensedBuffer(200, iterations=1000)).storage_policy.max_size
    200
    """

    def __init__(
        self,
        max_size: int,
        ipc: int | None = None,
        *,
        config: CondenseConfig | None = None,
        seed: int = 0,
        progress: bool = True,
        **settings: Any,
    ):
        super().__init__(max_size)
        self.memory = CondensedMemory(max_size, ipc, _config(config, settings), seed)
        self.progress = progress
        self.seconds = 0.0
        self._aside: list[RealImages] = []
        self._task_aware = True
        self._checked = False

    @property
    def buffer(self) -> AvalancheDataset:
        """All images as one dataset; its items carry task labels if the data's did."""
        if self._buffer is None:
            full = len(self.memory) > 0
            self._buffer = _as_dataset(*self.memory.to_set(), self._task_aware) if full else AvalancheDataset([])
        return self._buffer

    def update(self, strategy, num_workers: int = 0, **kwargs) -> None:
        """Condense ``strategy.experience`` into the memory."""
        self.post_adapt(strategy, strategy.experience, num_workers)

    def post_adapt(self, agent, exp, num_workers: int = 0) -> None:
        """Condense an experience into the memory; nothing is asked of the agent."""
        if _at_boundary(exp, "is_first_subexp"):
            self.flush()
        self._aside.append(self._read(exp.dataset, num_workers))
        if _at_boundary(exp, "is_last_subexp") or (_hides_boundaries(exp) and self._enough_aside):
            self.flush()

    def prepare(self, exp) -> None:
        """Before an experience: condense what came before, and raise now if it will not fit."""
        if _at_boundary(exp, "is_first_subexp"):
            self.flush()
        self.memory.shares(groups_of(exp.dataset))

    def flush(self) -> None:
        """Condense what is set aside, if anything is."""
        if not self._aside:
            return
        real = RealImages.join(self._aside)
        started = perf_counter()
        with tqdm(desc="condensing", leave=False, disable=None if self.progress else True) as bar:
            self.memory.update(real.pools(), None if bar.disable else _BarUpdater(bar))
        self.seconds, self._aside = perf_counter() - started, []
        self._task_aware = real.task_aware
        self._refresh()

    def resize(self, strategy, new_size: int) -> None:
        self.memory.resize(new_size)
        self.max_size = new_size
        self._refresh()

    def get_group_lengths(self, num_groups: int) -> list[int]:
        return self.memory.lengths(num_groups)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_buffer": None}

    @property
    def _enough_aside(self) -> bool:
        return sum(len(part.labels) for part in self._aside) >= self.max_size

    def _read(self, dataset: AvalancheDataset, num_workers: int) -> RealImages:
        real = read(dataset, num_workers)
        if not self._checked:
            warn_if_random(dataset, real.images)
            self._checked = True
        return real

    def _refresh(self) -> None:
        self._buffer = None
        self.buffer_groups = {
            GroupKey(*key): _GroupBuffer(part, key[0], self._task_aware) for key, part in self.memory.groups.items()
        }


class _GroupBuffer:
    """One group's images, for plugins that look into ``buffer_groups``."""

    def __init__(self, images: CondensedSet, task: int, task_aware: bool):
        self.images, self.task, self.task_aware = images, task, task_aware
        self.max_size = len(images)

    @property
    def buffer(self) -> AvalancheDataset:
        return _as_dataset(self.images, torch.full((self.max_size,), self.task), self.task_aware)


class _Items(Dataset):
    """Items (x, y) as Avalanche likes them: x float32 on the CPU, y an int."""

    def __init__(self, images: CondensedSet):
        self.stored = images.pixels, images.scale, images.offset
        self.labels = images.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return dequantize(*(part[row : row + 1] for part in self.stored))[0], self.labels[row]


def _as_dataset(images: CondensedSet, tasks: Tensor, task_aware: bool) -> AvalancheDataset:
    items = [_Items(images)]
    targets = DataAttribute(images.labels.tolist(), "targets")
    groups = TransformGroups({"train": None, "eval": None})
    if not task_aware:
        return ClassificationDataset(items, data_attributes=[targets], transform_groups=groups)
    # A plain list of task labels could not be joined with an experience's constant ones.
    labels = TaskLabels(FlatData([tasks.tolist()], can_flatten=False))
    return TaskAwareSupervisedClassificationDataset(items, data_attributes=[targets, labels], transform_groups=groups)


def _config(config: CondenseConfig | None, settings: dict[str, Any]) -> CondenseConfig:
    if config is not None and settings:
        raise ValueError(f"give config or single settings, got config and {', '.join(settings)}")
    known = sorted({field.name for field in fields(CondenseConfig)} - {"ipc", "storage"})
    for name in settings:
        if name not in known:
            raise ValueError(f"unknown setting {name!r}; choose from {', '.join(known)}")
    return config or replace(DEFAULT, **settings)


def _hides_boundaries(exp) -> bool:
    return isinstance(exp, OnlineCLExperience) and not exp.access_task_boundaries


def _at_boundary(exp, which: str) -> bool:
    """A whole experience begins and ends at one; a part of an online stream says for itself."""
    if isinstance(exp, OnlineCLExperience):
        return exp.access_task_boundaries and getattr(exp, which)
    return True


class _BarUpdater:
    """Moves a progress bar; reads the loss, which waits for the device, only now and then."""

    def __init__(self, bar: tqdm):
        self.bar = bar

    def __call__(self, done: int, total: int, progress: Progress) -> None:
        self.bar.total = total
        self.bar.update()
        if done % 50 == 0:
            self.bar.set_postfix(loss=f"{float(progress.loss):.3g}")
