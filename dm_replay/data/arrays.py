"""Datasets that come as arrays: scikit-learn's digits, torchvision's files, npz, and npy, read or mapped."""

import contextlib
import mmap
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .classes import class_labels
from .pixels import LAYOUTS, planar

__all__ = [
    "Split",
    "digits",
    "mapped_array",
    "mapped_images",
    "npy_folder",
    "npz",
    "torchvision_files",
]
ARRAYS = ("images", "labels", "test_images", "test_labels")
FILES = {
    "CIFAR10": "cifar-10-batches-py",
    "CIFAR100": "cifar-100-python",
    "FashionMNIST": "FashionMNIST/raw",
    "MNIST": "MNIST/raw",
    "SVHN": "train_32x32.mat and test_32x32.mat",
}
LONGEST = 120  # characters of a reason that are shown


class Split(NamedTuple):
    """Images (N, C, H, W) with labels (N,); ``mapped`` where the images are a map of a file."""

    images: Tensor
    labels: Tensor
    mapped: bool = False


def npy_array(file: str | Path, what: str, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file. Runs no code.

    Args:
        what: it holds, for the error.
        mapped: whether it stays in the file, to be read where it is touched.

    Raises:
        ValueError: if the file is missing, or is not one plain array.
    """
    if not Path(file).is_file():
        raise ValueError(f"no such file of {what}: {file}")
    with expect_readable(file, ".npy file of a plain array"):
        array = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive")
    return array


@contextlib.contextmanager
def expect_readable(file: str | Path, kind: str) -> Iterator[None]:
    """ValueError of one line about whatever the readers of a file stumble over.

    That is any exception: of zip, zlib and numpy, of the parser of Python that reads a header, of a shape that no
    memory holds.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        shown = reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}…"
        raise ValueError(f"{file} is not a readable {kind} ({shown})") from error


def mapped_images(path: str | Path) -> Tensor:
    """An .npy file of uint8 pixels as a tensor (N, C, H, W) that is not read yet. It must not be written to.

    Args:
        path: of an array (N, C, H, W), (N, H, W, C) or (N, H, W).

    Raises:
        ValueError: if the file is missing, holds something else, or does not tell which axis holds the channels.
    """
    return planar(mapped_array(path), path)


def mapped_array(path: str | Path) -> Tensor:
    """The same with its axes as they are in the file."""
    array = npy_array(path, "images", mapped=True)
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise ValueError(f"{path}: expected uint8 pixels {LAYOUTS}, got {array.dtype} {array.shape}")
    # Else the system reads ahead of every image that is touched: 100 times what was drawn, when measured.
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        array.base.madvise(mmap.MADV_RANDOM)
    # Read-only: a private writable map would count as memory in use, and be refused where it is larger than that.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def digits() -> tuple[Split, Split, list[str]]:
    """scikit-learn's 1,797 handwritten digits, 8x8, in a fixed stratified split: 1,347 and 450 to test.

    The values 0 to 16 are stretched to 0 to 255.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    parts = train_test_split(pixels, labels, test_size=450, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = map(torch.from_numpy, parts)
    return Split(train_images, train_labels), Split(test_images, test_labels), list(map(str, range(10)))


def torchvision_files(kind: str, root: Path, download: bool) -> tuple[Split, Split, list[str]]:
    """The official files of one of ``FILES`` in torchvision's layout under ``root``."""
    import torchvision

    dataset = getattr(torchvision.datasets, kind)
    parts = ({"split": "train"}, {"split": "test"}) if kind == "SVHN" else ({"train": True}, {"train": False})
    try:
        with contextlib.redirect_stdout(sys.stderr):
            train, test = (dataset(root, download=download, **part) for part in parts)
    except Exception as error:  # whatever its readers stumble over
        action = "downloading it failed" if download else "--download (download=True) fetches it"
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{kind} is missing or incomplete in {root}: expected {FILES[kind]}; {action} ({reason})"
        ) from error
    names = train.classes if kind in ("CIFAR10", "CIFAR100", "FashionMNIST") else list(map(str, range(10)))
    return _whole(train), _whole(test), names


def npz(path: Path) -> tuple[Split, Split, None]:
    """An .npz file, or a folder with one of them, holding images, labels, test_images and test_labels.

    Images are uint8 pixels or normalized floats, (N, C, H, W), (N, H, W, C) or (N, H, W).
    """
    file = _the_npz(path)
    with expect_readable(file, "npz file of plain arrays"), np.load(file, allow_pickle=False) as stored:
        missing = [name for name in ARRAYS if name not in stored]
        arrays = {name: stored[name] for name in ARRAYS if name in stored}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("an entry is no .npy file")
    if missing:
        raise ValueError(f"{file}: {missing[0]} is missing; expected the arrays {', '.join(ARRAYS)}")
    images, labels, test_images, test_labels = arrays.values()
    return (
        Split(_pixels(images, file), class_labels(labels, file)),
        Split(_pixels(test_images, file), class_labels(test_labels, file)),
        None,
    )


def npy_folder(folder: Path) -> tuple[Split, Split, None]:
    """A folder of train_images.npy, train_labels.npy, test_images.npy and test_labels.npy.

    The images are uint8 pixels, (N, C, H, W), (N, H, W, C) or (N, H, W), and stay in their files.
    """
    return _mapped_part(folder, "train"), _mapped_part(folder, "test"), None


def _mapped_part(folder: Path, part: str) -> Split:
    images, labels = (folder / f"{part}_{what}.npy" for what in ("images", "labels"))
    return Split(mapped_images(images), class_labels(npy_array(labels, "labels"), labels), mapped=True)


def _whole(dataset) -> Split:
    """All pixels of a torchvision dataset at once: (N, C, H, W) uint8, and labels."""
    images = torch.as_tensor(dataset.data)
    labels = torch.as_tensor(dataset.labels if hasattr(dataset, "labels") else dataset.targets)
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] == 3:
        images = images.permute(0, 3, 1, 2)
    return Split(images.contiguous(), labels)


def _the_npz(path: Path) -> Path:
    if path.is_file():
        return path
    found = sorted(path.glob("*.npz"))
    if len(found) != 1:
        raise ValueError(f"expected an npz file, or a folder with exactly one; {path} has {len(found)}")
    return found[0]


def _pixels(images: np.ndarray, file: Path) -> Tensor:
    """uint8 pixels or float32 values, (N, C, H, W)."""
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise ValueError(f"{file}: expected images of uint8 pixels or normalized floats, got {images.dtype}")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which TensorPool refuses
        plain = images if images.dtype == np.uint8 else images.astype(np.float32)
    return planar(torch.from_numpy(plain), file).contiguous()
