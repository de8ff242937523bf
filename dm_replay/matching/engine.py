"""The engine of a condensation: within its memory budget, verified, and taking fewer images where memory lacks."""

import functools
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..augment.siamese import SiameseAugment
from ..data.classes import ClassShard
from ..data.pool import TensorPool
from ..networks import activation_values
from ..runtime import self_check
from ..runtime.engine import GIB, Activations, Engine, within_memory
from ..runtime.seeding import new_generator
from .config import CondenseConfig
from .extractors import Extractor
from .losses import prefix_weights
from .matcher import Matcher
from .real_batches import RealBatches
from .synthetic import SyntheticPixels
from .trained_networks import BATCH

__all__ = ["Steps", "activations_of", "engine_for", "note_whole_batches", "probe", "verified_engine"]

WORTH_COMPILING = 60.0  # seconds; compiling takes 10 to 40 of them


def activations_of(pool: TensorPool, config: CondenseConfig, network: nn.Module | None) -> Activations:
    """What an image of the pool needs in the network, or in that of ``config``."""
    return activation_values(config.network if network is None else network, pool.shape)


def engine_for(pool: TensorPool, classes: int, config: CondenseConfig, activations: Activations) -> Engine:
    """The engine of a condensation of so many of the pool's classes."""
    synthetic = config.batch_syn or config.ipc * config.codec.images_per_stored
    images = config.iterations * classes * (config.batch_real + config.inner_steps * synthetic)
    if config.seconds is not None:
        images = sys.maxsize if config.seconds >= WORTH_COMPILING else 0
    elif config.patience is not None and config.patience <= WORTH_COMPILING:
        images = 0
    return config.machine.engine(pool.shape[1:], images, activations)


def note_whole_batches(
    pool: TensorPool, classes: int, config: CondenseConfig, activations: Activations, engine: Engine
) -> None:
    """Warn that a network with statistics over all images of a step takes them at once, where the budget is less."""
    every = config.ipc * config.codec.images_per_stored
    synthetic = classes * min(config.batch_syn or every, every)
    trained = max(BATCH, classes) if config.extractors else 0
    real = classes * min(config.batch_real, int(pool.counts.max())) * activations.forward * engine.dtype.itemsize
    needed = max(max(synthetic, trained) * activations.with_gradient * torch.float32.itemsize, real) / GIB
    budget = config.machine.memory_budget
    if needed > budget:
        warnings.warn(
            f"{config.network} has statistics over all images of a step, so it takes them at once, about "
            f"{math.ceil(needed)} GiB instead of memory_budget {budget:g}: lower ipc, batch_real or "
            "resolution, or choose another norm",
            stacklevel=4,
        )


class Steps:
    """Runs a matcher's steps; one that lacks memory is made again by a matcher with half the images at a time.

    An update changes nothing before its gradient is there, so the new matcher goes on from the old one's pixels; of a
    step of several updates those that were made stay made.

    Args:
        build: a fresh matcher on an engine.
        images: the most that it has at a time, whatever the engine allows.
    """

    def __init__(self, build: Callable[[Engine], Matcher], engine: Engine, images: int):
        self._build, self._images = build, images
        self._state: dict[str, Any] | None = None  # of a matcher that was given up
        self.engine, self.matcher = within_memory(engine, images, build)

    def step(self, iteration: int, lr: float) -> Tensor:
        """As :meth:`Matcher.step`."""
        self.engine, loss = within_memory(
            self.engine, self._images, lambda engine: self._matcher_on(engine).step(iteration, lr)
        )
        return loss

    def close(self) -> None:
        """As :meth:`Matcher.close`."""
        self.matcher.close()

    def _matcher_on(self, engine: Engine) -> Matcher:
        if engine == self.matcher.engine:
            return self.matcher
        if self._state is None:
            self._state = self.matcher.state()
            self.matcher.close()
        self.matcher = self._build(engine)
        self.matcher.restore(self._state)
        self._state = None
        return self.matcher


# Enough for every part of a step to matter, and so few that the CPU takes a tenth of a second for it.
CLASSES, REAL, SYNTHETIC = 3, 8, 3
NOISE = 0.5  # standard deviations; without it a class of one image would leave nothing to match but rounding
STEPS = 2  # a graph that always draws the same numbers is right in the first step


def verified_engine(engine: Engine, pool: TensorPool, config: CondenseConfig) -> Engine:
    """The engine that has been found right for such images and networks, or the plain one."""
    method = (
        config.network,
        config.augment,
        config.prefix_weight > 0,
        config.codec,
        config.synthetic_precision,
        config.distance,
    )
    configuration = ("matching", pool.shape, pool.images.dtype, *method)
    how = functools.partial(probe, pool=pool, config=config)
    return self_check.verified_engine(engine, how, configuration, images=CLASSES * max(REAL, SYNTHETIC))


def probe(engine: Engine, pool: TensorPool, config: CondenseConfig) -> dict[str, Tensor]:
    """Loss (2,) and pixel gradient (2, G, ipc, C, H, W) of two steps, always the same for the same generators."""
    few = _few(pool)
    shard, ipc = ClassShard(few.classes), min(config.ipc, SYNTHETIC)
    codec = config.codec
    start = few.draw(few.classes, ipc * codec.images_per_stored, new_generator(0, "check")).flatten(0, 1)
    start = codec.encode(start).unflatten(0, (len(few.classes), ipc))
    start = start + NOISE * torch.randn(start.shape, generator=new_generator(0, "check noise"))
    augment = SiameseAugment.parse(config.augment)
    mixed = config.synthetic_precision == "auto"
    extractor = Extractor(config.network, pool.shape, augment, engine, mixed=mixed, distance=config.distance)
    placed, whole = few.resident(few.classes, engine.device), extractor.batch_statistics
    real = RealBatches(placed, shard, REAL, None, engine, whole=whole)
    weights = prefix_weights(ipc, config.prefix_weight, config.prefix_power)
    start = start.to(engine.device, extractor.master)
    nested = None if weights is None else weights.to(start)
    synthetic = SyntheticPixels(start, codec=codec, size=pool.shape[1:], momentum=0.0, batch=0, prefix_weight=nested)
    matcher = Matcher(real, extractor, synthetic, augment=augment, engine=engine, seed=0)
    losses, gradients = [], []
    for step in range(STEPS):
        losses.append(matcher.step(step, config.lr_img).cpu())
        gradients.append(matcher.synthetic.velocity.cpu().clone())  # without momentum that is the gradient
    return {"loss": torch.stack(losses), "pixel gradient": torch.stack(gradients)}


def _few(pool: TensorPool) -> TensorPool:
    shard = ClassShard(pool.classes[:CLASSES])
    rows = pool.rows_of(shard).draw(REAL, new_generator(0, "check rows")).flatten()
    return pool.select(rows).to("cpu")
