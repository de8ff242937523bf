"""How the time of a condensation will be divided among its stages."""

from dataclasses import dataclass

from ..runtime.engine import WORTH_COMPILING
from .initial import CANDIDATES, FEWEST
from .prepared import Prepared
from .trained_networks import BATCH

__all__ = ["Expected"]

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
