"""The current images of a strategy, shared out among the processes that train it together."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from ..replay.loader import Batches

__all__ = ["shared_among_processes"]

KEPT = (
    *("batch_size", "num_workers", "collate_fn", "pin_memory", "drop_last", "timeout", "worker_init_fn"),
    *("multiprocessing_context", "generator", "persistent_workers"),
)


def shared_among_processes(loader: Any, seed: int) -> Batches:
    """A loader with this process's part of the images, if each process would otherwise go through all of them.

    That is so with the plain loader that strategies make for data without task labels. Avalanche's own loaders share
    theirs out, and whatever else a user has put in its place stays as it is.

    Args:
        seed: of the order, the same in all processes.
    """
    if type(loader) is not DataLoader or not isinstance(loader.sampler, RandomSampler | SequentialSampler):
        return loader
    shuffle = isinstance(loader.sampler, RandomSampler)
    sampler = _InTurns(loader.dataset, shuffle=shuffle, drop_last=loader.drop_last, seed=seed)
    return DataLoader(loader.dataset, sampler=sampler, **{name: getattr(loader, name) for name in KEPT})


class _InTurns(DistributedSampler):
    """Each pass has an order of its own: a strategy's loop does not say which it is."""

    def __iter__(self) -> Iterator[int]:
        order = super().__iter__()
        self.set_epoch(self.epoch + 1)
        return order
