"""Several networks trained at once: SGD on all of them, and what each draws at random."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from ..augment.siamese import AugmentParams, SiameseAugment
from ..runtime.acceleration import StreamPool
from ..runtime.seeding import new_generator

__all__ = ["EpochSampler", "JointSGD"]

# Streams. A layer of one ConvNet on 100 images is 50 to 200 tiles of 128 x 128 for the 132 multiprocessors of an H200,
# so four networks side by side fill them. Reasoned; with four, 20 networks' step takes at most 12 ms on an H100.
STREAMS = 4


class JointSGD:
    """SGD with momentum and weight decay on R networks, each on its own loss, in place: a step can be captured.

    The networks stay separate modules, so that every kind works, BatchNorm too. On CUDA their steps run side by side
    in a ``StreamPool``. Stacking their parameters (``torch.func.vmap``, where convolutions become grouped) was tried
    on a CPU: at width 128 it took as long on 10 images of 8x8 and twice as long on 100; only at width 16 was it
    faster, 2.6 times on 10 images and 1.1 on 100. Each network is updated right after its gradient, while both are in
    the cache: one update of all at the end took so much longer on a CPU that nothing was gained by training together.

    Args:
        networks: R of them.
        loss: (network, images, labels) -> 0-d loss.
        streams: how many run side by side on CUDA.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
        momentum: float,
        weight_decay: float,
        streams: int = STREAMS,
    ):
        self.networks, self.loss, self.momentum, self.weight_decay = networks, loss, momentum, weight_decay
        self.parameters: list[list[Tensor]] = [list(network.parameters()) for network in networks]
        self.velocity = [[torch.zeros_like(parameter) for parameter in own] for own in self.parameters]
        device = self.parameters[0][0].device
        self.lr = torch.zeros((), device=device)
        self.lanes = StreamPool(device, streams)

    def restart(self, lr: float) -> None:
        """Go on with this learning rate and no momentum."""
        self.lr.fill_(lr)
        for velocity in self.velocity:
            torch._foreach_zero_(velocity)

    def step(self, images: Tensor, labels: Tensor) -> None:
        """One update of every network. images: (R, B, C, H, W); labels: (R, B)."""
        self.step_of_parts([(images, labels)], labels.shape[1])

    def step_of_parts(self, parts: Iterable[tuple[Tensor, Tensor]], total: int) -> None:
        """The same, a part (R, b, …) of the ``total`` images after another."""
        seen, sums = 0, [list[Tensor]() for _ in self.networks]
        for images, labels in parts:
            seen += labels.shape[1]
            with self.lanes.forked():
                for number, network in enumerate(self.networks):
                    with self.lanes.lane(number):
                        loss = self.loss(network, images[number], labels[number]) * (labels.shape[1] / total)
                        self._add(sums[number], torch.autograd.grad(loss, self.parameters[number]))
                        if seen == total:
                            self._update(number, sums[number])

    @staticmethod
    def _add(total: list[Tensor], gradients: tuple[Tensor, ...]) -> None:
        if total:
            torch._foreach_add_(total, gradients)
        else:
            total.extend(gradients)

    @torch.no_grad()
    def _update(self, number: int, gradients: list[Tensor]) -> None:
        parameters, velocity = self.parameters[number], self.velocity[number]
        torch._foreach_mul_(velocity, self.momentum)
        torch._foreach_add_(velocity, gradients)
        torch._foreach_add_(velocity, parameters, alpha=self.weight_decay)
        torch._foreach_sub_(parameters, torch._foreach_mul(velocity, self.lr))


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
