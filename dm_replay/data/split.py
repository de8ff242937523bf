"""Split: the images and labels of one part of a dataset, as a reader gives them."""

from typing import NamedTuple

import numpy as np
from torch import Tensor

__all__ = ["Split"]


class Split(NamedTuple):
    """Images (N, C, H, W) with labels (N,), not checked yet; ``mapped`` where the images are a map of a file."""

    images: Tensor
    labels: "Tensor | np.ndarray"
    mapped: bool = False
