"""Arrays that stay in their file: the pages are read where they are touched, whatever the memory of the machine."""

import mmap
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .layout import LAYOUTS, planar
from .npy_files import npy_array

__all__ = ["mapped_array", "mapped_images"]


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
    _expect_scattered_reads(array)
    return _as_tensor(array)


def _expect_scattered_reads(array: np.ndarray) -> None:
    """Without this the system reads ahead of every image that is touched: 100 times what was drawn, when measured."""
    if isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        array.base.madvise(mmap.MADV_RANDOM)


def _as_tensor(array: np.ndarray) -> Tensor:
    """Read-only: a private writable map would count as memory in use, and be refused where it is larger than that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)
