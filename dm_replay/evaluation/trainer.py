"""Training networks on a small set of images held in memory, and testing them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..augment.siamese import SiameseAugment
from ..data.pool import TensorPool
from ..networks import build, parse, reset
from ..runtime.cuda_graphs import captured
from ..runtime.engine import COMPILE, PRECISIONS, Engine, check_choices, compiled
from .epoch_sampler import Draws
from .joint_sgd import JointSGD

__all__ = ["EvalConfig", "Trainer", "networks_at_once"]

TEST_CHUNK = 256  # images; the last, smaller one is padded so that one shape is compiled

WORTH_JOINING = 1000  # epochs of all networks; fewer are over in seconds on a CPU, and a capture costs about a second
MOST_NETWORKS = 20  # the official protocol's
MOST_PASSES = 400  # networks x steps of an epoch; as many forward and backward passes go into one CUDA graph
MOST_PIXELS = 20 * 256 * 64 * 64  # of one step of all networks: a copy of the images takes 250 MB


@dataclass(frozen=True)
class EvalConfig:
    """How a network is trained on a condensed set; the defaults are the paper's.

    Args:
        epochs: the schedule runs epochs + 1 of them and divides the learning rate by 10 after epoch epochs // 2 + 1,
            where the momentum starts afresh, as in the official code.
        batch: images per step.
        lr, momentum, weight_decay: of the networks' SGD.
        augment: families drawn for each image of each step, joined by "_", or "none".
        precision: of the matrix work: "bfloat16" (autocast; parameters stay float32), "float32" or "auto".
        compile: "yes", "no", or "auto" for where it earns back its half minute.
        device: "auto", "cpu", "cuda", ...
        together: networks trained at once; 0 for as many as suit the device, see :func:`networks_at_once`.
    """

    epochs: int = 1000
    batch: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "color_crop_cutout_flip_scale_rotate"
    precision: str = "auto"
    compile: str = "auto"
    device: str = "auto"
    together: int = 0

    def __post_init__(self):
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.lr > 0 or not 0 <= self.momentum < 1 or not self.weight_decay >= 0:
            raise ValueError(
                "expected lr > 0, momentum in [0, 1) and weight_decay >= 0, "
                f"got {self.lr}, {self.momentum} and {self.weight_decay}"
            )
        if self.together < 0:
            raise ValueError(f"together must be at least 1, or 0 for automatic, got {self.together}")
        check_choices(self, precision=PRECISIONS, compile=COMPILE)
        SiameseAugment.parse(self.augment)


def networks_at_once(config: EvalConfig, engine: Engine, runs: int, images: int, image_size: tuple[int, int]) -> int:
    """How many of ``runs`` networks are trained together on ``images`` images of ``image_size`` (H, W).

    ``config.together`` if it is not 0. Else, for jobs of at least 1,000 epochs in all, as many as 20 on a GPU and in
    uncompiled work on a CPU, fewer where steps are large or many; one after another in compiled work on a CPU and in
    small jobs. Measured on one CPU core on 8x8 images, time one after another by time 20 together: 1.3 for ConvNet-128
    on 10 images, 1.0 on 100; 1.8 for ConvNet-16 on 20. Compiled on 100 images of 32x32: 1.0. Reasoned for GPUs.
    """
    if config.together:
        return min(config.together, runs)
    compiled_on_cpu = engine.compiled and engine.device.type == "cpu"
    if compiled_on_cpu or runs * (config.epochs + 1) < WORTH_JOINING:
        return 1
    steps = -(-images // config.batch)
    pixels = min(images, config.batch) * image_size[0] * image_size[1]
    return max(1, min(runs, MOST_NETWORKS, MOST_PASSES // steps, MOST_PIXELS // pixels))


class Trainer:
    """Trains networks of one kind, several together or one after another; what is compiled serves them all.

    Args:
        network: its name. shape: (C, H, W) of the images. classes: width of the head.

    Attributes:
        networks: those made so far; the first ones are those trained last.
    """

    def __init__(self, network: str, shape: tuple[int, int, int], classes: int, config: EvalConfig, engine: Engine):
        parse(network)
        self.config, self.engine, self.shape, self.classes, self.name = config, engine, shape, classes, network
        self.augment = SiameseAugment.parse(config.augment)
        self.networks: list[nn.Module] = []
        self._enlist(1)
        self._augmented = compiled(self._augment, engine)
        self._loss, self._predict = compiled(self._loss_of, engine), compiled(self._predictions, engine)

    @property
    def network(self) -> nn.Module:
        return self.networks[0]

    def train(
        self, images: Tensor, labels: Tensor, seed: int, on_epoch: Callable[[int], None] | None = None
    ) -> nn.Module:
        """A freshly initialised network after the whole schedule on normalised images (N, C, H, W), labels (N,)."""
        return self.train_together(images, labels, [seed], on_epoch and (lambda run, epoch: on_epoch(epoch)))[0]

    def train_together(
        self,
        images: Tensor,
        labels: Tensor,
        seeds: Sequence[int],
        on_epoch: Callable[[int, int], None] | None = None,
    ) -> list[nn.Module]:
        """R freshly initialised networks after the whole schedule, one for each seed, trained at the same time.

        A seed gives the same network beside any others, but for rounding. The networks serve the next call again.

        Args:
            images: (N, C, H, W), normalised. labels: (N,).
            on_epoch: called with (run, epoch), both from 0, for every run after each epoch. On a GPU the epoch may
                still be under way.
        """
        config, device = self.config, self.engine.device
        images, labels, networks = images.to(device), labels.to(device), self._enlist(len(seeds))
        draws = Draws(self.augment, len(images), self.shape[1:], seeds)
        params, orders = draws.buffers(device)
        sgd = JointSGD(networks, self._loss, config.momentum, config.weight_decay)

        def pass_over_images() -> None:
            for rows in orders.split(config.batch, 1):
                sgd.step(self._augmented(images, params, rows), labels[rows])

        run_epoch = captured(pass_over_images, device)
        for network, numbers in zip(networks, draws.numbers, strict=True):
            reset(network, numbers)
        sgd.restart(config.lr)
        for epoch in range(config.epochs + 1):
            draws.fill(params, orders)
            run_epoch()
            if epoch == config.epochs // 2 + 1:
                sgd.restart(config.lr * 0.1)
            for run in range(len(seeds) if on_epoch is not None else 0):
                on_epoch(run, epoch)
        return networks

    def accuracy(self, pool: TensorPool, labels: Tensor) -> float:
        """Percentage of the pool's images whose prediction by the first network equals labels (N,)."""
        return self.accuracies(pool, labels, 1)[0]

    @torch.no_grad()
    def accuracies(self, pool: TensorPool, labels: Tensor, count: int) -> list[float]:
        """Percentage of the pool's images, for each of the first ``count`` networks, predicted as labels (N,).

        Counted on the device in one pass over the images; the host waits once, at the end.
        """
        device, networks = self.engine.device, [network.eval() for network in self.networks[:count]]
        right = torch.zeros(len(networks), dtype=torch.long, device=device)
        chunks = torch.arange(len(pool)).split(TEST_CHUNK), labels.to(device).split(TEST_CHUNK)
        for rows, expected in zip(*chunks, strict=True):
            padded = F.pad(rows, (0, TEST_CHUNK - len(rows)))
            images = pool.normalise(pool.raw(padded).to(device))
            for number, network in enumerate(networks):
                right[number] += (self._predict(network, images)[: len(rows)] == expected).sum()
        return [100 * hits / len(pool) for hits in right.tolist()]

    def _enlist(self, count: int) -> list[nn.Module]:
        """The first ``count`` networks, ready for training; those that are missing are made."""
        for _ in range(count - len(self.networks)):
            network = build(self.name, self.shape, self.classes)
            self.networks.append(network.to(self.engine.device, memory_format=torch.channels_last))
        return [network.train() for network in self.networks[:count]]

    def _augment(self, images: Tensor, params: Tensor, rows: Tensor) -> Tensor:
        """images (N, C, H, W), params (R, N, 13), rows (R, B) -> each run's images (R, B, C, H, W)."""
        chosen = params.take_along_dim(rows[:, :, None], 1).flatten(0, 1)
        return self.augment.apply(images[rows.flatten()][:, None], chosen).view(*rows.shape, *self.shape)

    def _loss_of(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self._logits(network, images), labels)

    def _predictions(self, network: nn.Module, images: Tensor) -> Tensor:
        return self._logits(network, images).argmax(1)

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.engine.device.type, torch.bfloat16, enabled=self.engine.dtype == torch.bfloat16):
            return network(images).float()
