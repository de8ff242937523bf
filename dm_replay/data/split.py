"""Split: the images and labels of one part of a dataset, as a reader gives them."""

from typing import NamedTuple

from torch import Tensor

__all__ = ["Split"]


class Split(NamedTuple):
    """Images (N, C, H, W) with labels (N,); ``mapped`` where the images are a map of a file."""

    images: Tensor
    labels: Tensor
    mapped: bool = False
