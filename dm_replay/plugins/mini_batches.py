"""The mini-batches of a strategy: checked, made of tensors, made by other plugins, shared out by processes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.core import BasePlugin
from avalanche.training.plugins import ReplayPlugin
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, SequentialSampler

from ..augment.siamese import CropFlip
from ..data.pixels import check_planar
from ..replay.loader import Batches
from ..replay.standardize import to_dtype
from ..runtime.hardware import cpu_by_default
from ..runtime.seeding import new_generator

__all__ = [
    "TensorLoader",
    "check_neighbours",
    "check_not_made",
    "checked",
    "collated",
    "name_those_behind",
    "read_items",
    "shared_among_processes",
]


def read_items(dataset: AvalancheDataset, rows: Sequence[int]) -> list[Tensor]:
    """Items of a dataset, in the mode that it is in, as one mini-batch that :func:`checked` takes."""
    return checked(collated(dataset.collate_fn, [dataset[row] for row in rows]))


def collated(collate_fn: Any, items: Sequence) -> Any:
    """The items as a mini-batch; ValueError if they are no tensors or numbers, or images of several sizes."""
    try:
        return collate_fn(items)
    except TypeError as error:
        kind, label = (type(part).__name__ for part in items[0][:2])
        if isinstance(items[0][0], Tensor | np.ndarray):
            raise ValueError(f"expected labels that are whole numbers, got {label}") from error
        raise ValueError(
            f"expected tensors after the eval transforms, got {kind}: "
            "give the benchmark an eval_transform that ends in a tensor"
        ) from error
    except RuntimeError as error:
        sizes = list(dict.fromkeys(tuple(item[0].shape) for item in items if isinstance(item[0], Tensor | np.ndarray)))
        if len(sizes) < 2:
            raise
        raise ValueError(f"expected images of one shape, got {sizes[0]} and {sizes[1]}") from error


def checked(batch: Any) -> list[Tensor]:
    """A mini-batch's images (N, C, H, W), labels (N,) and, where it has them, task labels (N,), on the CPU."""
    if not isinstance(batch, Sequence) or len(batch) not in (2, 3):
        parts = f"{len(batch)} parts" if isinstance(batch, Sequence) else f"a {type(batch).__name__}"
        raise ValueError(f"expected items (x, y) or (x, y, task label), got {parts}")
    images, *numbers = batch
    if not isinstance(images, Tensor | np.ndarray):
        raise ValueError(f"expected each x to be an image as a tensor, got {type(images).__name__}")
    images = torch.as_tensor(images).detach().cpu()
    if images.ndim != 4:
        hint = ": gray images are (1, H, W), signals (C, 1, L)" if images.ndim == 3 else ""
        raise ValueError(f"expected images (C, H, W), got {tuple(images.shape[1:])} for each x{hint}")
    if images.is_complex():
        raise ValueError(f"expected images of real numbers, got {images.dtype}")
    check_planar(images.shape[1:])
    labels, *tasks = (_whole_numbers(part, len(images)) for part in numbers)
    if (labels < 0).any():
        raise ValueError(f"expected labels from 0, got {int(labels.min())}: leave out images that have no class")
    return [images, labels, *tasks]


def _whole_numbers(part: Any, images: int) -> Tensor:
    """One for each image, (N,)."""
    first = part if isinstance(part, Mapping) else part[0] if isinstance(part, Sequence) and len(part) else None
    if isinstance(first, Mapping | str | bytes):
        raise ValueError(f"expected labels that are whole numbers, got {type(first).__name__}")
    if isinstance(part, Sequence) and (len(part) != images or (isinstance(first, Tensor) and first.ndim)):
        raise ValueError(f"expected one label for each image, got {len(part)} values")
    try:
        found = torch.as_tensor(part).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"expected labels that are whole numbers, got {type(first or part).__name__}") from error
    if found.ndim != 1:
        raise ValueError(f"expected one label for each image, got {tuple(found.shape[1:])}")
    if found.is_floating_point() or found.is_complex():
        raise ValueError(f"expected labels that are whole numbers, got {found.dtype}")
    return found


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
        raise ValueError(_thrown_away(anew, [other for other in _around(strategy, plugin)[0] if _has_hook(other)]))


def name_those_behind(strategy: Any, plugin: ReplayPlugin) -> str:
    """The plugins behind this one that could have made mini-batches instead of it."""
    return _names([other for other in _around(strategy, plugin)[1] if _has_hook(other)])


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


@cpu_by_default
class TensorLoader:
    """Mini-batches of real images (N, C, H, W) with labels (N,) and, if they have them, tasks (N,).

    Each pass has an order and augmentation of its own.

    Args:
        pixel: type of the images in mini-batches, by default that given.
        black: (C,), the value of padding; by default the darkest that each channel has.
        seed: of the passes; the same seed gives the same ones.

    >>> import torch
    >>> from dm_replay.augment.siamese import CropFlip
    >>> from dm_replay.plugins.mini_batches import TensorLoader
    >>> loader = TensorLoader(torch.rand(10, 1, 8, 8), torch.arange(10), batch_size=4, augment=CropFlip(1))
    >>> [len(labels) for images, labels in loader], len(loader)
    ([4, 4, 2], 3)
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        tasks: Tensor | None = None,
        *,
        batch_size: int,
        augment: CropFlip | None = None,
        pixel: torch.dtype | None = None,
        black: Tensor | None = None,
        device: torch.device | str = "cpu",
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
    ):
        numbers = [labels] if tasks is None else [labels, tasks]
        self.images, *self.numbers = (part.to(device) for part in (images, *numbers))
        self.pixel, self.batch_size, self.augment = pixel or images.dtype, batch_size, augment
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, seed
        self.black = self.images.amin((0, 2, 3)) if black is None else black.to(device)
        self.passes = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.images), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[list[Tensor]]:
        generator = new_generator(self.seed, "current", self.passes)
        self.passes += 1
        for rows in self._order(generator).to(self.images.device).split(self.batch_size)[: len(self)]:
            yield [self._augmented(self.images[rows], generator), *(part[rows] for part in self.numbers)]

    def _order(self, generator: torch.Generator) -> Tensor:
        count = len(self.images)
        return torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)

    def _augmented(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.augment is not None:
            corners, mirrored = (part.to(images.device) for part in self.augment.sample(len(images), generator))
            images = self.augment.apply(images, corners, mirrored, self.black)
        return to_dtype(images, self.pixel)
