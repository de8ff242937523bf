"""Cutting the work that carries a gradient: by classes, and a class that is too large into pieces of its images."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["equal_parts", "gradient_in_pieces"]


def equal_parts(groups: int, rows: int, chunk: int) -> list[slice]:
    """Cut the groups into equal parts of at most ``chunk`` images, or of one group."""
    together = max(1, chunk // rows)
    together = -(-groups // -(-groups // together))
    return [slice(first, min(first + together, groups)) for first in range(0, groups, together)]


def gradient_in_pieces(
    pixels: Tensor,
    rows: Tensor,
    chunk: int,
    features: Callable[[Tensor, Tensor], Tensor],
    loss: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """A loss of the features of all images, and its gradient to the pixels, ``chunk`` images embedded at a time.

    Each is embedded twice: first all without a gradient; then, piece by piece, to take the loss's gradient to its
    features on to the pixels. Nothing is approximated.

    Args:
        pixels: (G, ipc, …), stored. rows: (G, B), numbers of the training images.
        features: pixels and some of the rows (G, b) -> (G, b, D). loss: (G, B, D) -> 0-d.

    >>> import torch
    >>> from dm_replay.matching.pieces import gradient_in_pieces
    >>> square = lambda pixels, rows: pixels.gather(1, rows)[..., None] ** 2
    >>> pixels, rows = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0, 1, 2]])
    >>> gradient_in_pieces(pixels, rows, 2, square, lambda found: found.sum() ** 2)  # 2 * 14 * 2 * pixel
    (tensor(196.), tensor([[ 56., 112., 168.]]))
    """
    pieces = rows.tensor_split(-(-rows.numel() // chunk), dim=1)
    with torch.no_grad():
        embedded = torch.cat([features(pixels, piece) for piece in pieces], 1)
    embedded.requires_grad_()
    value = loss(embedded)
    (wanted,) = torch.autograd.grad(value, embedded)
    gradient = torch.zeros_like(pixels)
    for piece, back in zip(pieces, wanted.split([piece.shape[1] for piece in pieces], 1), strict=True):
        leaf = pixels.detach().requires_grad_()
        gradient += torch.autograd.grad(features(leaf, piece), leaf, back)[0]
    return value.detach(), gradient
