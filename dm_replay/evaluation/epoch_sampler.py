"""What training runs draw at random, an epoch of all of them at a time."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..augment.siamese import AugmentParams, SiameseAugment
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

    def epoch(self) -> tuple[AugmentParams, Tensor]:
        """The next epoch: parameters (R, N, …) float32, row i for image i, and orders (R, N) int64, on the CPU."""
        choices, uniforms, orders = map(torch.stack, zip(*map(self._draw, self.generators), strict=True))
        rows = self.augment.resolve(choices.flatten(), uniforms.flatten(0, 1), self.image_size)
        return AugmentParams(*(part.unflatten(0, orders.shape) for part in rows)), orders

    def buffers(self, device: torch.device) -> tuple[AugmentParams, Tensor]:
        """Tensors on a device for :meth:`fill`: zeros in the shapes of :meth:`epoch`."""
        shape = (len(self.generators), self.images)
        params = (torch.zeros(*shape, *part, device=device) for part in ((2, 3), (3,), (4,)))
        return AugmentParams(*params), torch.zeros(shape, dtype=torch.long, device=device)

    def fill(self, params: AugmentParams, orders: Tensor) -> None:
        """Write the next epoch into tensors that stay where they are, without waiting for their device."""
        drawn_params, drawn_orders = self.epoch()
        for target, drawn in zip((*params, orders), (*drawn_params, drawn_orders), strict=True):
            target.copy_(drawn.pin_memory() if target.is_cuda else drawn, non_blocking=True)

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One run's random values, (N,) and (N, 3), and its order (N,)."""
        return *self.augment.draw(self.images, generator), torch.randperm(self.images, generator=generator)
