"""What an accelerator is asked before it trains networks: a few updates on some of the images."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..networks import build_network, reset
from ..runtime import self_check
from ..runtime.engine import Engine
from ..runtime.seeding import new_generator
from .config import EvalConfig
from .trainer import Trainer

__all__ = ["probe", "verified_engine"]

IMAGES = 16
BATCH = 8  # two steps an epoch, of two epochs
SEEDS = (0, 1)  # two networks, side by side where the engine does so


def verified_engine(
    engine: Engine, network: str, images: Tensor, labels: Tensor, classes: int, config: EvalConfig
) -> Engine:
    """The engine that has been found right for such a training, or the plain one."""
    configuration = ("evaluation", network, tuple(images.shape[1:]), classes, replace(config, epochs=1, steps=None))
    how = functools.partial(probe, network=network, images=images, labels=labels, classes=classes, config=config)
    return self_check.verified_engine(engine, how, configuration, images=IMAGES)


def probe(
    engine: Engine, network: str, images: Tensor, labels: Tensor, classes: int, config: EvalConfig
) -> dict[str, Tensor]:
    """Losses (2,) of two networks after two epochs on a few images, and all their updates (2, P)."""
    rows = torch.linspace(0, len(images) - 1, min(IMAGES, len(images))).long()  # of every class, where they lie in turn
    images, labels = images[rows], labels[rows]
    channels, height, width = images.shape[1:]
    shape = channels, height, width
    trainer = Trainer(network, shape, classes, replace(config, epochs=1, steps=None, batch=BATCH), engine)
    trained = trainer.train_together(images, labels, SEEDS)
    with torch.no_grad():
        losses = torch.stack([trainer.loss(one, images, labels).cpu() for one in trained])
    return {"loss": losses, "update": _values(trained) - _values(_untrained(network, shape, classes))}


def _untrained(network: str, shape: tuple[int, int, int], classes: int) -> Sequence[nn.Module]:
    """The networks as training finds them."""
    fresh = [build_network(network, shape, classes) for _ in SEEDS]
    for one, seed in zip(fresh, SEEDS, strict=True):
        reset(one, new_generator(seed, "train"))
    return fresh


def _values(networks: Sequence[nn.Module]) -> Tensor:
    """(R, P): all parameters, on the CPU."""
    return torch.stack([torch.cat([p.detach().cpu().flatten() for p in one.parameters()]) for one in networks])
