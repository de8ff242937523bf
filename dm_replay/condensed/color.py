"""Brightness and two color differences instead of red, green and blue: an orthonormal map."""

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["to_planes", "to_rgb"]

PLANES = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (6**-0.5, -2 * 6**-0.5, 6**-0.5))


def to_planes(images: Tensor) -> Tensor:
    """(N, 3, H, W) -> (N, 3, H, W), brightness first."""
    return _mixed(images, _planes(images.dtype, images.device))


def to_rgb(planes: Tensor) -> Tensor:
    """The inverse."""
    return _mixed(planes, _planes(planes.dtype, planes.device).T)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # kept, and others may need gradients
def _planes(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: a CUDA graph cannot hold a tensor that is made of host data."""
    return torch.tensor(PLANES, dtype=dtype, device=device)


def _mixed(images: Tensor, matrix: Tensor) -> Tensor:
    """Each channel of the result is a row of the matrix times the channels."""
    return (matrix @ images.flatten(2)).view_as(images)
