"""How far a condensation has come, by iterations or by the clock, and what follows from it."""

import math
import time
from dataclasses import dataclass, field

from .config import CondenseConfig

__all__ = ["Schedule"]


@dataclass
class Schedule:
    """The learning rate and the averaging over a run that is bounded by iterations or by seconds.

    Attributes:
        spent: seconds that earlier processes of the run took.
    """

    config: CondenseConfig
    spent: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        """Spent on the run so far, in all its processes."""
        return self.spent + time.perf_counter() - self.began

    def progress(self, iteration: int) -> float:
        """The part of the run that is over before an iteration (from 0), in [0, 1]; 1 where it is over."""
        if self.config.seconds is None:
            return min(1.0, iteration / self.config.iterations)
        return min(1.0, self.seconds / self.config.seconds) if iteration else 0.0

    def lr(self, progress: float) -> float:
        """A cosine from ``lr_img`` to its part ``lr_final``."""
        falling = (1 + math.cos(math.pi * progress)) / 2
        return self.config.lr_img * (self.config.lr_final + (1 - self.config.lr_final) * falling)

    def averages(self, progress: float) -> bool:
        """Whether an iteration's pixels count for the result's mean."""
        return self.config.average > 0 and progress >= 1 - self.config.average
