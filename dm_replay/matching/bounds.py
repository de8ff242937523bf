"""How far pixels may go: in an update with a network that is not of ours, and in all."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.pool import TensorPool

__all__ = ["RealRange", "at_most"]

SAMPLE = 64  # images, whose range and deviation are enough for bounds of an order of magnitude
LOOK = 50  # iterations; looking at the pixels waits for the device
FAR = 50  # times the range of real images; from noise, in a network of one layer, pixels rightly reached 33 times
# Root mean square of a class's gradient, times its images, in deviations of the real ones. With our own networks it was
# 0.03 to 0.5 (digits, 4 and 20 images a class, presets "paper" and "fast"); with torchvision's resnet18 1,300.
GRADIENT = 0.5


@dataclass(frozen=True)
class RealRange:
    """Where the values of real images lie, as normalized.

    Attributes:
        low, high: the least and the greatest. deviation: of all values.
    """

    low: float
    high: float
    deviation: float

    @classmethod
    def of(cls, pool: TensorPool) -> "RealRange":
        """By a sample, spread evenly over the pool."""
        rows = torch.linspace(0, len(pool) - 1, min(len(pool), SAMPLE), dtype=torch.float64).long()
        images = pool.take(rows).float()
        return cls(float(images.amin()), float(images.amax()), float(images.std(correction=0)))

    def gradient(self, ipc: int) -> float:
        """The most that a class's gradient to its ``ipc`` images may be, as a root mean square over its pixels."""
        return GRADIENT * (self.deviation or 1.0) / ipc

    def check(self, pixels: Tensor, loss: Tensor, iteration: int, lr: float) -> None:
        """ValueError for a loss that is not finite, or pixels far outside the range."""
        least, greatest, last = torch.stack([pixels.amin(), pixels.amax(), loss.to(pixels)]).tolist()
        reached, width = max(-least, greatest), max(self.high - self.low, abs(self.low), abs(self.high))
        if not -torch.inf < last + least + greatest < torch.inf:
            raise ValueError(f"the loss became {last:g} within {iteration} iterations: lower lr_img, now {lr:g}")
        if reached > FAR * (width or 1.0):
            raise ValueError(
                f"pixels reached {reached:.3g} within {iteration} iterations, where real images lie between "
                f"{self.low:.3g} and {self.high:.3g}: lower lr_img, now {lr:g}"
            )


def at_most(gradient: Tensor, bound: float) -> Tensor:
    """(G, ipc, …) with each class's scaled down to a root mean square of at most ``bound``.

    >>> import torch
    >>> from dm_replay.matching.bounds import at_most
    >>> at_most(torch.tensor([[[3.0]], [[0.5]]]), 1.0).flatten().tolist()
    [1.0, 0.5]
    """
    sizes = gradient.flatten(1).double().square().mean(1).sqrt().to(gradient)  # large values have no square in float32
    return gradient * (bound / sizes.clamp_min(bound)).view(-1, *[1] * (gradient.ndim - 1))
