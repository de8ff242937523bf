"""The mini-batches of a strategy, which other plugins make, too, and which processes share out."""

from collections.abc import Iterator
from typing import Any

from avalanche.core import BasePlugin
from avalanche.training.plugins import ReplayPlugin
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from ..replay.loader import Batches

__all__ = ["check_neighbours", "check_not_made", "name_those_behind", "shared_among_processes"]

HOOK = "before_training_exp"  # where plugins make mini-batches


def check_neighbours(strategy: Any, plugin: ReplayPlugin, anew: str | None) -> None:
    """ValueError if it is known by their kinds that one of two plugins throws away the mini-batches of the other.

    Args:
        anew: the argument by which ``plugin`` makes mini-batches of its own instead of adding to those that are there.
    """
    before, behind = _around(strategy, plugin)
    replaying = [other for other in before if isinstance(other, ReplayPlugin)]
    if anew and replaying:
        raise ValueError(_thrown_away(anew, replaying))
    stock = [other for other in behind if isinstance(other, ReplayPlugin) and not isinstance(other, type(plugin))]
    if stock:
        names = _names(stock)
        raise ValueError(f"{names} behind {type(plugin).__name__} throws its replay away: put {names} before it")


def check_not_made(strategy: Any, plugin: ReplayPlugin, anew: str, **kwargs: Any) -> None:
    """ValueError if a plugin before this one has made mini-batches in place of the strategy's own."""
    found = strategy.dataloader
    strategy.make_train_dataloader(**kwargs)
    own, strategy.dataloader = strategy.dataloader, found
    if not _alike(own, found):
        before, _ = _around(strategy, plugin)
        raise ValueError(_thrown_away(anew, [other for other in before if _has_hook(other)]))


def name_those_behind(strategy: Any, plugin: ReplayPlugin) -> str:
    """The plugins behind this one that could have made mini-batches instead of it."""
    _, behind = _around(strategy, plugin)
    return _names([other for other in behind if _has_hook(other)])


def _thrown_away(anew: str, others: list[Any]) -> str:
    made = "mini-batches made by a plugin before it"
    return f"{anew} would throw away the {made} ({_names(others)}): leave {anew} out, or put that plugin behind"


def _around(strategy: Any, plugin: Any) -> tuple[list[Any], list[Any]]:
    plugins = list(strategy.plugins)
    places = [place for place, other in enumerate(plugins) if other is plugin]
    return (plugins[: places[0]], plugins[places[0] + 1 :]) if places else ([], [])


def _has_hook(plugin: Any) -> bool:
    return getattr(type(plugin), HOOK, None) is not getattr(BasePlugin, HOOK)


def _names(plugins: list[Any]) -> str:
    return " or ".join(dict.fromkeys(type(plugin).__name__ for plugin in plugins)) or "unknown"


def _alike(own: Any, found: Any) -> bool:
    """Whether it could be the strategy's own; each is made anew, of the same data."""
    if type(own) is not type(found):
        return False
    if isinstance(own, DataLoader):
        same = own.dataset is found.dataset and own.batch_size == found.batch_size
        return same and type(own.sampler) is type(found.sampler)
    lengths = [[len(part) for part in getattr(loader, "datasets", ())] for loader in (own, found)]
    sizes = [getattr(loader, "batch_sizes", None) for loader in (own, found)]
    return lengths[0] == lengths[1] and sizes[0] == sizes[1]


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
