"""What condensing makes small: the squared distance of mean features, of all images of a class or of its prefixes."""

import torch
from torch import Tensor

__all__ = ["matching_loss", "prefix_means", "prefix_weights"]


def prefix_means(features: Tensor) -> Tensor:
    """(G, B, D) -> (G, B, D): row k is the mean of the first k + 1 rows, from one cumulative sum.

    >>> import torch
    >>> from dm_replay.matching.losses import prefix_means
    >>> prefix_means(torch.tensor([[[2.0], [4.0], [9.0]]])).flatten().tolist()
    [2.0, 3.0, 5.0]
    """
    lengths = torch.arange(1, features.shape[1] + 1, device=features.device, dtype=features.dtype)
    return features.cumsum(1) / lengths[:, None]


def prefix_weights(ipc: int, shorter: float, power: float = 0.0) -> Tensor | None:
    """Weights of the ipc prefixes in the matching loss: 1 for the full length, shorter · (k / ipc)^power for k images.

    None where only the full length counts, which is the paper's objective.

    >>> from dm_replay.matching.losses import prefix_weights
    >>> prefix_weights(4, shorter=0.5).tolist()
    [0.5, 0.5, 0.5, 1.0]
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

    >>> import torch
    >>> from dm_replay.matching.losses import matching_loss
    >>> matching_loss(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [3.0, 0.0]]]))  # the mean is (2, 0)
    tensor(4.)
    """
    if weights is None:
        return (targets - features.mean(1)).square().sum()
    prefixes = prefix_means(features)[:, step - 1 :: step]
    return ((targets[:, None] - prefixes).square().sum((0, 2)) * weights).sum()
