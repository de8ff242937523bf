"""How a condensation runs within its memory budget."""

import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..data.pool import TensorPool
from ..networks import activation_values
from ..runtime.engine import GIB, Activations, Engine
from ..runtime.out_of_memory import within_memory
from .config import CondenseConfig
from .matcher import Matcher
from .trained_networks import BATCH

__all__ = ["Steps", "activations_of", "engine_for", "note_whole_batches"]

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
