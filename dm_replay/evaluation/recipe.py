"""The recipe of a training: its settings, SGD on several networks at once, and what each of them draws at random."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..augment.siamese import AugmentParams, SiameseAugment
from ..runtime.acceleration import StreamPool
from ..runtime.seeding import new_generator
from ..runtime.settings import Machine, Plain, check_whole_numbers

__all__ = ["EpochSampler", "EvalConfig", "JointSGD"]


@dataclass(frozen=True)
class EvalConfig(Plain):
    """How a network is trained on a condensed set; the defaults are the paper's.

    Args:
        epochs: the schedule runs epochs + 1 of them and divides the learning rate by 10 after epoch epochs // 2 + 1,
            where the momentum starts afresh, as in the official code.
        steps: a budget instead of ``epochs``: exactly so many steps, whatever the number of images; the learning rate
            falls after half of them.
        batch: images per step.
        lr, momentum, weight_decay: of the networks' SGD.
        augment: families drawn for each image of each step, joined by "_", or "none"; "auto" is all of them, but "flip"
            only where the test pool says that a mirror image means the same.
        parallel_networks: networks trained at once; 0 for as many as suit the device, see :func:`networks_at_once`.
        machine: where and how it runs; ``precision`` is that of the matrix work (autocast; parameters stay float32).

    Raises:
        ValueError: for a value that is out of its range or none of its choices.

    >>> from dm_replay import EvalConfig
    >>> EvalConfig(epochs=300).resolve(flip_invariant=False).augment
    'color_crop_cutout_scale_rotate'
    """

    epochs: int = 1000
    steps: int | None = None
    batch: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "auto"
    parallel_networks: int = 0
    machine: Machine = Machine()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, epochs=1, batch=1, parallel_networks=0)
        if self.steps is not None:
            check_whole_numbers(self, steps=1)
        if not self.lr > 0 or not 0 <= self.momentum < 1 or not self.weight_decay >= 0:
            raise ValueError(
                "expected lr > 0, momentum in [0, 1) and weight_decay >= 0, "
                f"got {self.lr}, {self.momentum} and {self.weight_decay}"
            )
        SiameseAugment.parse(self.augment)

    def for_images(self, images: int) -> "EvalConfig":
        """The same with the ``epochs`` whose schedule has room for ``steps`` on so many images; 2 passes at least."""
        if self.steps is None:
            return self
        return replace(self, epochs=max(1, -(-self.steps // self.steps_of_pass(images)) - 1))

    def steps_of_pass(self, images: int) -> int:
        """Steps that show each of so many images once."""
        return -(-images // self.batch)

    def schedule(self, images: int) -> tuple[int, int]:
        """Steps in all on so many images, and those after which the learning rate falls."""
        if self.steps is not None:
            return self.steps, -(-self.steps // 2)
        each = self.steps_of_pass(images)
        return (self.epochs + 1) * each, (self.epochs // 2 + 2) * each

    def passes(self, images: int) -> int:
        """Epochs in all on so many images, the last of a budget in steps perhaps unfinished."""
        return -(-self.schedule(images)[0] // self.steps_of_pass(images))

    def resolve(self, flip_invariant: bool) -> "EvalConfig":
        """The same with the families that an ``augment`` of "auto" stands for."""
        return replace(self, augment=SiameseAugment.parse(self.augment, flip_invariant).name)


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

    def step(self, parts: Iterable[tuple[Tensor, Tensor]], total: int) -> None:
        """One update of every network, by one part of the ``total`` images after another.

        Args:
            parts: images (R, b, C, H, W) and labels (R, b).
        """
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
