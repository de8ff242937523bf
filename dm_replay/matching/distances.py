"""What is averaged over a class's images and compared: their features, also their squares, or random waves of them."""

import torch
from torch import Tensor

__all__ = ["DISTANCES", "Distance"]

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
    >>> from dm_replay.matching.distances import Distance
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
