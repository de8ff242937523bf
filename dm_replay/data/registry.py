"""Real datasets by name: a train pool, a test pool and what is usual for them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor

from ..runtime.hardware import cpu_by_default
from .arrays import Split, digits, npy_folder, npz, torchvision_files
from .image_files import image_folder, imagenet, tiny_imagenet
from .packing import packed
from .pool import TensorPool

__all__ = ["Dataset", "DatasetSpec", "NoImages", "data_root", "load_dataset", "names"]


class NoImages(TensorPool):
    """A pool that is none: whatever it is asked, it says what is missing, as a ValueError of one line.

    >>> from dm_replay.data.registry import NoImages
    >>> len(NoImages("there are no test images"))
    Traceback (most recent call last):
    ValueError: there are no test images
    """

    def __init__(self, missing: str):
        self._missing = missing

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # of copying and pickling
            raise AttributeError(name)
        raise ValueError(vars(self)["_missing"])

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SMALLEST, LARGEST = 8, 1024  # pixels a side that pictures are scaled to
ENOUGH = 100_000  # images for the statistics; at 64 pixels a gigabyte to read


@dataclass(frozen=True)
class DatasetSpec:
    """What goes with a dataset.

    Attributes:
        name: as :func:`load_dataset` takes it. shape: (C, H, W).
        classes: a name for each class, in the order of the labels.
        mean, std: of the normalization, per channel in units of [0, 1]; None for images that came normalized.
        flip_invariant: whether a mirror image means the same.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    flip_invariant: bool


class Dataset(NamedTuple):
    """The images to train and to test on. Where there are none to test on, ``test`` says so whatever it is asked."""

    train: TensorPool
    test: TensorPool
    spec: DatasetSpec


@dataclass(frozen=True)
class _Source:
    """How a dataset is read and normalized. Without mean and std they are those of the training images.

    ``read`` is given what it needs of root, download, repack and size, and returns two :class:`Split`, the second of
    which may be None, and the class names. ``scales``: whether a size can be asked for; ``size``: pixels a side where
    none is.
    """

    read: Callable
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    flip_invariant: bool = True
    needs_root: bool = True
    downloads: bool = False
    packs: bool = False
    scales: bool = False
    size: int | None = None


def _torchvision(kind: str, mean: tuple, std: tuple, flip_invariant: bool = True) -> _Source:
    return _Source(partial(torchvision_files, kind), mean, std, flip_invariant, downloads=True)


def _folders(name: str, listing: Callable, **about) -> _Source:
    return _Source(partial(packed, name, listing), *IMAGENET, packs=True, **about)


_SOURCES = {
    "cifar10": _torchvision("CIFAR10", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": _torchvision("CIFAR100", (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "digits": _Source(digits, (0.3053,), (0.3758,), flip_invariant=False, needs_root=False),
    "fashionmnist": _torchvision("FashionMNIST", (0.2861,), (0.3530,)),
    "imagefolder": _folders("imagefolder", image_folder, scales=True),
    "imagenet": _folders("imagenet", imagenet, scales=True, size=64),
    "mapped": _Source(npy_folder),
    "mnist": _torchvision("MNIST", (0.1307,), (0.3081,), flip_invariant=False),
    "npz": _Source(npz),
    "svhn": _torchvision("SVHN", (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), flip_invariant=False),
    "tinyimagenet": _folders("tinyimagenet", tiny_imagenet),
}


def names() -> list[str]:
    """The datasets that :func:`load_dataset` knows."""
    return sorted(_SOURCES)


def data_root(root: str | Path | None = None) -> Path:
    """The folder of the datasets: ``root``, else the environment's ``DM_DATA``."""
    chosen = root or os.environ.get("DM_DATA")
    if not chosen:
        raise ValueError("no folder of datasets: give --root (root=…) or set DM_DATA in the environment")
    return Path(chosen).expanduser()


@cpu_by_default
def load_dataset(
    name: str = "digits", root: str | Path | None = None, download: bool = False, repack: bool = False
) -> Dataset:
    """Read a dataset whole; "mapped" stays in its files, and image folders are decoded once, into a cache.

    Args:
        name: "digits" comes with scikit-learn; "cifar10", "cifar100", "fashionmnist", "mnist" and "svhn" are
            the official files in torchvision's layout; "tinyimagenet" is Stanford's folder; "imagefolder" any
            ``root/train/<class>/`` and ``root/test/<class>/`` of images of one size, or ``root/<class>/``, which can be
            condensed only, "imagefolder:64" of any size, their middle square scaled to 64 x 64; "imagenet" ILSVRC's
            folders train and val at 64 x 64, "imagenet:128" at another size; "npz" a file of the arrays images, labels,
            test_images and test_labels; "mapped" a folder of train_images.npy, train_labels.npy, test_images.npy and
            test_labels.npy, which may be larger than memory.
        root: the folder (or npz file); the environment's ``DM_DATA`` by default.
        download: whether torchvision may fetch missing files.
        repack: decode an image folder anew. Where files came, went or changed, that happens by itself; see
            :mod:`dm_replay.data.packing` for where the cache lies. Parts above 256 MiB stay in it, mapped.

    Raises:
        ValueError: if the dataset is unknown, missing or damaged; it says what was expected.

    >>> from dm_replay import load_dataset
    >>> train, test, spec = load_dataset("digits")
    >>> len(train), len(test), spec.shape
    (1347, 450, (1, 8, 8))
    """
    family, size = _parsed(name)
    source = _SOURCES[family]
    if repack and not source.packs:
        raise ValueError(f"{name} is not packed; repack is for {', '.join(n for n in names() if _SOURCES[n].packs)}")
    train, test, class_names = source.read(*_arguments(source, root, download, repack, size))
    mean, std = (source.mean, source.std) if source.mean else _statistics(train.images)
    about: dict[str, Any] = dict(mean=mean, std=std, names=class_names, flip_invariant=source.flip_invariant)
    train, test = (_pool(split, name, about) for split in (train, test))
    if not isinstance(test, NoImages) and train.shape != test.shape:
        raise ValueError(f"images of unequal size: {train.shape} for training, {test.shape} for testing")
    classes = tuple(class_names or map(str, train.classes.tolist()))
    return Dataset(train, test, DatasetSpec(name, train.shape, classes, mean, std, source.flip_invariant))


def _pool(split: Split | None, name: str, about: dict[str, Any]) -> TensorPool:
    if split is None:
        return NoImages(f"{name} has no test images: expected the folders train and test, with a folder for each class")
    return TensorPool(split.images, split.labels, mapped=split.mapped, **about)


def _parsed(name: str) -> tuple[str, int | None]:
    """The dataset and the size of its pictures that a name asks for."""
    family, colon, size = name.partition(":")
    if family not in _SOURCES:
        raise ValueError(f"unknown dataset {name!r}; choose from {', '.join(names())}")
    source = _SOURCES[family]
    if not colon:
        return family, source.size
    if not source.scales:
        others = " and ".join(other for other in names() if _SOURCES[other].scales)
        raise ValueError(f"{family} has pictures of one size; only {others} take another")
    if not size.isdecimal() or not SMALLEST <= int(size) <= LARGEST:
        raise ValueError(f"expected {family}:SIZE, in pixels from {SMALLEST} to {LARGEST}, got {name!r}")
    return family, int(size)


def _arguments(source: _Source, root: str | Path | None, download: bool, repack: bool, size: int | None) -> tuple:
    if not source.needs_root:
        return ()
    folder = data_root(root)
    if not folder.exists() and not source.downloads:
        raise ValueError(f"no such file or folder of a dataset: {folder}")
    return (folder, *((download,) if source.downloads else ()), *((repack, size) if source.packs else ()))


def _statistics(images: Tensor) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Mean and standard deviation of each channel of uint8 pixels; None for floats, which came normalized.

    Of very many images those of :data:`ENOUGH`, evenly spaced.
    """
    if images.dtype != torch.uint8 or images.numel() == 0:
        return None, None
    images = images[:: -(-len(images) // ENOUGH)]
    chunks = [chunk.double() / 255 for chunk in images.split(1000)]
    values = images.numel() / images.shape[1]
    mean = sum(chunk.sum((0, 2, 3)) for chunk in chunks) / values
    variance = sum(chunk.square().sum((0, 2, 3)) for chunk in chunks) / values - mean.square()
    std = variance.clamp_min(0).sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std > 1e-6, std, torch.ones_like(std)).tolist())
