"""How far a condensation has come: what it tells, what follows from it, and how its time is divided."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..condensed.image_set import ImageSet
from ..runtime.engine import WORTH_COMPILING
from .config import CondenseConfig
from .prepared import Prepared
from .synthetic import CANDIDATES, FEWEST
from .trained_networks import BATCH

__all__ = ["Expected", "Progress", "Schedule"]


@dataclass(frozen=True)
class Progress:
    """What ``on_step`` is given after each iteration, valid until it returns. All but numbers wait for the device.

    Attributes:
        iteration: iterations done so far, from 1. iterations: how many there will be.
        loss: 0-d tensor, the matching loss per class before the last update.
        part: of the run that is over, in [0, 1]. engine: what it runs on.
    """

    iteration: int
    iterations: int
    loss: Tensor
    part: float
    engine: Any
    _images: Callable[[], Tensor]
    _state: Callable[[], dict[str, Any]]
    _finish: Callable[[], ImageSet]

    @property
    def images(self) -> Tensor:
        """The stored images as they are now: (N, …) float32, normalized, a copy on the CPU."""
        return self._images()

    @property
    def state(self) -> dict[str, Any]:
        """What :func:`condense` takes as ``state`` to go on from here."""
        return {"iteration": self.iteration, **self._state()}

    def as_set(self) -> ImageSet:
        """The condensed set as it is now."""
        return self._finish()


@dataclass
class Schedule:
    """The learning rate and the averaging over a run that is bounded by iterations, by seconds, or by both.

    Attributes:
        spent: seconds that earlier processes of the run took.
        first: the first iteration that this process has made, and when it was over, for the pace of the others.
    """

    config: CondenseConfig
    spent: float = 0.0
    began: float = field(default_factory=time.perf_counter)
    first: tuple[int, float] | None = None

    @property
    def seconds(self) -> float:
        """Spent on the run so far, in all its processes."""
        return self.spent + time.perf_counter() - self.began

    def progress(self, iteration: int) -> float:
        """The part of the run that is over before an iteration (from 0), in [0, 1]; 1 where it is over."""
        if self.config.seconds is None:
            return min(1.0, iteration / (iteration + self._left(iteration))) if iteration else 0.0
        return min(1.0, self.seconds / self.config.seconds) if iteration else 0.0

    def _left(self, iteration: int) -> int:
        """Iterations still to be made: as many as are wanted or, at the pace so far, as ``patience`` has time for."""
        wanted = max(0, self.config.iterations - iteration)
        if self.config.patience is None:
            return wanted
        now = self.seconds
        self.first = self.first or (iteration, now)
        done, since = iteration - self.first[0], now - self.first[1]
        rest = self.config.patience - now
        if not done or rest <= 0:
            return wanted if rest > 0 else 0
        return min(wanted, round(rest * done / since)) if since > 0 else wanted

    def shown(self, part: float) -> float:
        """What of the run is over, to who waits for it, where this part of its work is."""
        limit = self.config.limit
        if limit is None:
            return part
        return min(1.0, max(self.seconds / limit, part if self.config.seconds is None else 0.0))

    def lr(self, progress: float) -> float:
        """A cosine from ``lr_img`` to its part ``lr_final``."""
        falling = (1 + math.cos(math.pi * progress)) / 2
        return self.config.lr_img * (self.config.lr_final + (1 - self.config.lr_final) * falling)

    def averages(self, progress: float) -> bool:
        """Whether an iteration's pixels count for the result's mean."""
        return self.config.tail_average > 0 and progress >= 1 - self.config.tail_average


GRADIENT = 3  # times the time of an image without one


@dataclass(frozen=True)
class Expected:
    """In images that are embedded without a gradient, from a few figures of the configuration.

    Attributes:
        done: what earlier processes did. herding, training, steps: what is to be done. compiling: of one of the latter.
    """

    done: float
    herding: float
    training: float
    steps: float
    compiling: float

    @classmethod
    def of(cls, job: Prepared, classes: int, iteration: int) -> "Expected":
        """Of so many classes, from an iteration on."""
        config, pixels = job.config, job.pool.shape[1] * job.pool.shape[2]
        every = config.ipc * config.codec.images_per_stored
        step = classes * (config.batch_real + GRADIENT * config.inner_steps * (config.batch_syn or every))
        herds = config.init == "herding" and iteration == 0
        return cls(
            iteration * step,
            classes * max(FEWEST, CANDIDATES * every) if herds else 0,
            config.extractors * config.extractor_steps * BATCH * GRADIENT if job.trains else 0,
            max(0, config.iterations - iteration) * step,
            WORTH_COMPILING / pixels if job.engine.compiled else 0,
        )

    def of_start(self, part: float) -> float:
        """What of the whole is over where this part of the choice of first images is."""
        return (self.done + part * self.herding) / self._whole

    def of_training(self, part: float) -> float:
        """Likewise of the training of networks, whose first step compiles."""
        compiled = self.compiling if part > 0 and self.training else 0
        return (self.done + self.herding + compiled + part * self.training) / self._whole

    def of_steps(self, part: float) -> float:
        """Likewise of the steps that this process makes, the first of which compiles."""
        before = self._whole - self.compiling - self.steps
        return (before + (self.compiling if part > 0 else 0) + part * self.steps) / self._whole

    @property
    def _whole(self) -> float:
        training = self.training + (self.compiling if self.training else 0)
        return self.done + self.herding + training + self.compiling + self.steps
