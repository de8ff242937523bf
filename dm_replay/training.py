"""Training one network on a small set of images held in memory, and testing it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .augment import SiameseAugment
from .engine import COMPILE, PRECISIONS, Engine, compiled
from .networks import build, parse, reset
from .pools import TensorPool
from .seeding import generator

__all__ = ["EvalConfig", "Trainer"]

TEST_CHUNK = 256  # images; the last, smaller one is padded so that one shape is compiled


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

    def __post_init__(self):
        for name in ("epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name, choices in (("precision", PRECISIONS), ("compile", COMPILE)):
            if getattr(self, name) not in choices:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(choices)}")
        SiameseAugment.parse(self.augment)


class Trainer:
    """Trains networks of one kind, one after another, so that what is compiled serves them all.

    Args:
        network: its name. shape: (C, H, W) of the images. classes: width of the head.
    """

    def __init__(self, network: str, shape: tuple[int, int, int], classes: int, config: EvalConfig, engine: Engine):
        parse(network)
        self.config, self.engine, self.shape = config, engine, shape
        self.augment = SiameseAugment.parse(config.augment)
        self.network = build(network, shape, classes).to(engine.device, memory_format=torch.channels_last)
        self._loss, self._predict = compiled(self._loss_of, engine), compiled(self._predictions, engine)

    def train(
        self, images: Tensor, labels: Tensor, seed: int, on_epoch: Callable[[int], None] | None = None
    ) -> nn.Module:
        """A freshly initialised network after the whole schedule on normalised images (N, C, H, W), labels (N,)."""
        config, device = self.config, self.engine.device
        images, labels = images.to(device), labels.to(device)
        numbers = generator(seed, "train")
        reset(self.network, numbers)
        self.network.train()
        optimizer = self._optimizer(config.lr)
        for epoch in range(config.epochs + 1):
            params = self.augment.sample(len(images), self.shape[1:], numbers).to(device)
            order = torch.randperm(len(images), generator=numbers).to(device)
            for rows in order.split(config.batch):
                optimizer.zero_grad()
                self._loss(images[rows], labels[rows], params[rows]).backward()
                optimizer.step()
            if epoch == config.epochs // 2 + 1:
                optimizer = self._optimizer(config.lr * 0.1)
            if on_epoch is not None:
                on_epoch(epoch)
        return self.network

    @torch.no_grad()
    def accuracy(self, pool: TensorPool, labels: Tensor) -> float:
        """Percentage of the pool's images whose prediction equals labels (N,)."""
        self.network.eval()
        right = torch.zeros((), dtype=torch.long, device=self.engine.device)
        for rows in torch.arange(len(pool)).split(TEST_CHUNK):
            padded = F.pad(rows, (0, TEST_CHUNK - len(rows)))
            predicted = self._predict(pool.take(padded).to(self.engine.device))
            right += (predicted[: len(rows)] == labels[rows].to(self.engine.device)).sum()
        return 100 * right.item() / len(pool)

    def _optimizer(self, lr: float) -> torch.optim.SGD:
        config = self.config
        return torch.optim.SGD(
            self.network.parameters(), lr, config.momentum, weight_decay=config.weight_decay, foreach=True
        )

    def _loss_of(self, images: Tensor, labels: Tensor, params: Tensor) -> Tensor:
        augmented = self.augment.apply(images[:, None], params)[:, 0]
        return F.cross_entropy(self._logits(augmented), labels)

    def _predictions(self, images: Tensor) -> Tensor:
        return self._logits(images).argmax(1)

    def _logits(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.engine.device.type, torch.bfloat16, enabled=self.engine.dtype == torch.bfloat16):
            return self.network(images).float()
