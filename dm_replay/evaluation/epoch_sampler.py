"""What training runs draw at random, an epoch of all of them at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..augment.siamese import SiameseAugment
from ..runtime.seeding import new_generator

__all__ = ["EpochSampler"]


class EpochSampler:
    """Augmentations and orders of N images for R runs, each from its own generator.

    A run's draws depend on its seed alone, not on the runs beside it: the same values as from ``augment.sample`` and
    ``torch.randperm``, called in turn for each epoch.

    Args:
        image_size: (H, W).
        seeds: R of them, one for each run.

    Attributes:
        generators: one for each run, from which a run may draw its initial parameters before the first epoch.
    """

    def __init__(self, augment: SiameseAugment, images: int, image_size: tuple[int, int], seeds: Sequence[int]):
        self.augment, self.images, self.image_size = augment, images, image_size
        self.generators = [new_generator(seed, "train") for seed in seeds]

    def epoch(self) -> tuple[Tensor, Tensor]:
        """The next epoch: parameters (R, N, 13) float32, row i for image i, and orders (R, N) int64, on the CPU."""
        choices, uniforms, orders = map(torch.stack, zip(*map(self._draw, self.generators), strict=True))
        rows = self.augment.resolve(choices.flatten(), uniforms.flatten(0, 1), self.image_size)
        return rows.unflatten(0, orders.shape), orders

    def buffers(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Tensors on a device for :meth:`fill`: zeros, (R, N, 13) and (R, N)."""
        shape = (len(self.generators), self.images)
        return (
            torch.zeros(*shape, self.augment.columns, device=device),
            torch.zeros(shape, dtype=torch.long, device=device),
        )

    def fill(self, params: Tensor, orders: Tensor) -> None:
        """Write the next epoch into tensors that stay where they are, without waiting for their device."""
        for target, drawn in zip((params, orders), self.epoch(), strict=True):
            target.copy_(drawn.pin_memory() if target.is_cuda else drawn, non_blocking=True)

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One run's random values, (N,) and (N, 3), and its order (N,)."""
        return *self.augment.draw(self.images, generator), torch.randperm(self.images, generator=generator)
