"""A user's own transform of replayed images, whose faults are said in one line."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Transform", "check_transform", "transformed"]

Transform = Callable[[Tensor], Tensor]
TRIED = 2  # images


def check_transform(transform: Transform, shape: tuple[int, int, int], device: torch.device | str = "cpu") -> None:
    """Try it on black images (C, H, W) on the device; random generators of torch are as they were.

    Raises:
        ValueError: as :func:`transformed`.
    """
    cuda = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(cuda):
        transformed(transform, torch.zeros(TRIED, *shape, device=device))


@torch.no_grad()
def transformed(transform: Transform, images: Tensor) -> Tensor:
    """(M, C, H, W) float32 -> (M, C, H', W'), transformed.

    Raises:
        ValueError: if it fails, or gives something else.
    """
    given = tuple(images.shape)
    try:
        found = transform(images)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"transform failed on images {given}: {type(error).__name__}: {reason}") from error
    if not isinstance(found, Tensor) or found.ndim != 4 or found.shape[:2] != images.shape[:2]:
        got = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise ValueError(f"transform must give as many images of as many channels, got {got} for {given}")
    if found.device != images.device:
        raise ValueError(f"transform must leave images on {images.device}, got them on {found.device}")
    return found
