"""What condensing makes small: the squared distance of mean features, of all images of a class or of its prefixes."""

import torch
from torch import Tensor

__all__ = ["matching_loss", "prefix_means", "prefix_weights"]


def prefix_means(features: Tensor) -> Tensor:
    """(G, B, D) -> (G, B, D): row k is the mean of the first k + 1 rows, from one cumulative sum."""
    lengths = torch.arange(1, features.shape[1] + 1, device=features.device, dtype=features.dtype)
    return features.cumsum(1) / lengths[:, None]


def prefix_weights(ipc: int, shorter: float, power: float = 0.0) -> Tensor | None:
    """Weights of the ipc prefixes in the matching loss: 1 for the full length, shorter · (k / ipc)^power for k images.

    None where only the full length counts, which is the paper's objective.
    """
    if shorter == 0 or ipc == 1:
        return None
    weights = shorter * (torch.arange(1, ipc + 1) / ipc) ** power
    weights[-1] = 1.0
    return weights


def matching_loss(targets: Tensor, features: Tensor, weights: Tensor | None = None, step: int = 1) -> Tensor:
    """Squared distance of class means, **summed** over classes and dimensions (DM, Zhao & Bilen 2023, eq. 4).

    Args:
        targets: (G, D), mean features of the real images.
        features: (G, B, D), features of the synthetic images.
        weights: (B / step,), one for each prefix of a class's images; None matches the mean of all B alone.
        step: images by which a prefix grows: as many as a stored image decodes to.
    """
    if weights is None:
        return (targets - features.mean(1)).square().sum()
    prefixes = prefix_means(features)[:, step - 1 :: step]
    return ((targets[:, None] - prefixes).square().sum((0, 2)) * weights).sum()
