"""How far a condensation has come, by iterations or by the clock, and what follows from it."""

import math
import time
from dataclasses import dataclass, field

from .config import CondenseConfig

__all__ = ["Schedule"]


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
