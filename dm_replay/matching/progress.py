"""What a condensation tells while it runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..condensed.image_set import ImageSet

__all__ = ["Progress"]


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
