"""The matching loss: distances of features, of whole classes and of their prefixes, and gradients in pieces."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "DISTANCES",
    "Distance",
    "equal_parts",
    "gradient_in_pieces",
    "matching_loss",
    "prefix_means",
    "prefix_weights",
]

DISTANCES = ("mean", "moments", "characteristic")
WAVES = 1024  # drawn anew in each iteration
FREQUENCY = 2.0  # of the waves, per unit of the features' length


class Distance:
    """Statistics of an image whose class means are matched; the loss is the squared distance of these means.

    Args:
        name: "mean", the features themselves (DM); "moments", also their squares, so that the variance of each
            feature counts; "characteristic", cosine and sine of random projections of the features scaled to length 1:
            the distance of characteristic functions at normal frequencies, which is the maximum mean discrepancy of a
            Gaussian kernel, estimated by random features (Rahimi & Recht 2007).
        features: D.

    >>> import torch
    >>> from dm_replay.matching.losses import Distance
    >>> Distance("moments", 2)(torch.tensor([[1.0, 3.0]])).tolist()
    [[1.0, 3.0, 1.0, 9.0]]
    """

    def __init__(self, name: str, features: int, device: torch.device | str = "cpu", dtype: torch.dtype | None = None):
        self.name = name
        self.waves = torch.zeros(WAVES, features, device=device, dtype=dtype) if name == "characteristic" else None

    def refresh(self, generator: torch.Generator) -> None:
        """The frequencies of the next iteration, in place."""
        if self.waves is not None:
            self.waves.copy_(torch.randn(self.waves.shape, generator=generator, device=generator.device))

    def __call__(self, features: Tensor) -> Tensor:
        """(…, D) -> (…, D')."""
        if self.name == "moments":
            return torch.cat([features, features.square()], dim=-1)
        if self.waves is None:
            return features
        lengths = features.square().sum(-1, keepdim=True).clamp_min(1e-12).sqrt()
        phases = FREQUENCY * (features / lengths) @ self.waves.T
        # For slow waves this is the distance of the mean features scaled to length √D.
        scale = (features.shape[-1] / WAVES) ** 0.5 / FREQUENCY
        return scale * torch.cat([phases.cos(), phases.sin()], dim=-1)


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
    >>> from dm_replay.matching.losses import gradient_in_pieces
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
