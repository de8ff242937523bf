"""The steps of a condensation, with fewer images at a time where memory does not suffice."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..runtime.engine import Engine
from ..runtime.out_of_memory import within_memory
from .matcher import Matcher

__all__ = ["Steps"]


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
