"""One strategy trained on one stream with this memory or that: how long it takes, and what is left."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin

from ..matching.reducer import Condense, Mixed
from ..replay.contents import Group
from ..runtime.seeding import isolated
from .experience import groups_of, inspect
from .metrics import StreamMetrics
from .outcomes import Outcome
from .storage_policy import CondensedBuffer

__all__ = ["Strategy", "Trials"]

WARM_UP, TIMED = 2, 6  # iterations that tell the pace
OF_TEST = 1 / 3  # of the time of training on an image, what testing one takes
Strategy = Callable[[list[Any]], Any]  # plugins -> an Avalanche strategy


class Trials:
    """Runs of one strategy on one stream.

    Attributes:
        shape: (C, H, W) of its images. groups: (task label, class) of all that come.
    """

    def __init__(self, stream: Any, strategy: Strategy):
        self.train, self.tests = list(stream.train_stream), list(stream.test_stream)
        if not self.train or not self.tests:
            raise ValueError("the stream has no experiences to train on, or none to test on")
        self._strategy, self._network = strategy, None
        self.shape, _ = inspect(self.train[0].dataset)
        self._trained, self._tested = ([_groups(one.dataset) for one in part] for part in (self.train, self.tests))
        self.groups = sorted(set().union(*self._trained))

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the stream from others, as JSON gives it back."""
        sizes = {"images": [len(e.dataset) for e in self.train], "test images": [len(e.dataset) for e in self.tests]}
        return {"shape": list(self.shape), "groups": [list(group) for group in self.groups], **sizes}

    def tests_after(self, number: int) -> list[Any]:
        """The test experiences up to a training where there is one for each; else those of classes trained so far."""
        if len(self.tests) == len(self.train):
            return self.tests[: number + 1]
        seen = set().union(*self._trained[: number + 1])
        known = [test for test, own in zip(self.tests, self._tested, strict=True) if own <= seen]
        return known or self.tests

    def check(self, plugins: Sequence[Any]) -> None:
        """ValueError unless each memory of ours holds an image of each class, before anything is trained."""
        for buffer in filter(None, map(_buffer_of, plugins)):
            buffer.memory.lengths(len(self.groups), self.shape)

    def learner(self, plugins: list[Any]) -> Any:
        """A strategy; ValueError if its network is that of the one before."""
        made = self._strategy(plugins)
        if made.model is self._network:
            raise ValueError("strategy has given the network of the run before: it has to make a new one each time")
        self._network = made.model
        return made

    def outcome(self, plugin: Any, name: str, seed: int) -> Outcome:
        """Train on all experiences with one memory, and test after each."""
        started, curve, metric = time.perf_counter(), [], StreamMetrics()
        with isolated(seed, "compare"), _without_avalanches_warnings():
            learner = self.learner([] if plugin is None else [plugin])
            learner.plugins.append(EvaluationPlugin(metric, loggers=[]))
            for number, experience in enumerate(self.train):
                learner.train(experience)
                learner.eval(self.tests_after(number))
                curve.append(100 * float(metric.matrix[-1].nanmean()))
        forgetting = 100 * metric.result().get("Forgetting", 0.0)
        return Outcome(name, seed, curve, forgetting, _held(plugin), time.perf_counter() - started)

    def announced(self, plugins: Sequence[Any]) -> str:
        """How long such runs will take, from some iterations without a memory."""
        pace = Pace()
        with isolated(0, "pace"), _without_avalanches_warnings(), contextlib.suppress(Known):
            learner = self.learner([pace])
            learner.train(self.train[0])
        batch = learner.train_mb_size
        trained = learner.train_epochs * sum(ceil(len(one.dataset) / batch) for one in self.train)
        tested = sum(len(one.dataset) for n in range(len(self.train)) for one in self.tests_after(n)) / batch
        replayed = sum((getattr(plugin, "batch_size_mem", None) or batch) / batch for plugin in plugins if plugin)
        seconds = pace.seconds * (trained * (len(plugins) + replayed) + OF_TEST * tested * len(plugins))
        told = f"{len(plugins)} runs, about {_duration(seconds)} of training and testing"
        limits = [limit for buffer in map(_buffer_of, plugins) if buffer for limit in _limits(buffer)]
        if not limits:
            return told
        known = [limit for limit in limits if limit is not None]
        if len(known) < len(limits):
            return f"{told}, and condensing, which has no limit of time"
        return f"{told}, and at most {_duration(sum(known) * len(self.train))} of condensing"


def _groups(dataset: Any) -> set[Group]:
    return groups_of(dataset, inspect(dataset)[1])


def _buffer_of(plugin: Any) -> CondensedBuffer | None:
    policy = getattr(plugin, "storage_policy", None)
    return policy if isinstance(policy, CondensedBuffer) else None


def _limits(buffer: CondensedBuffer) -> list[float | None]:
    """Seconds that condensing an experience may take, if it is condensed."""
    return [buffer.memory.config.limit] if isinstance(buffer.memory.reducer, Condense | Mixed) else []


def _held(plugin: Any) -> int:
    """Bytes of a memory; of Avalanche's those of its images, a byte for each value."""
    if (buffer := _buffer_of(plugin)) is not None:
        return buffer.memory.nbytes
    images = getattr(getattr(plugin, "storage_policy", None), "buffer", None)
    return len(images) * images[0][0].numel() if images is not None and len(images) else 0


@contextlib.contextmanager
def _without_avalanches_warnings() -> Iterator[None]:
    """It warns of what it calls itself, whatever is filtered. What others warn of is told at the end."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        for one in caught:
            if "avalanche" not in Path(one.filename).parts:
                warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


class Known(Exception):
    """The pace is known: the trial ends."""


class Pace(SupervisedPlugin):
    """Times some iterations of a training and ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []  # of the beginning and the end of each iteration

    @property
    def seconds(self) -> float:
        """Of an iteration."""
        timed = self.times[WARM_UP:] if len(self.times) > WARM_UP + 1 else self.times
        return (timed[-1] - timed[0]) / (len(timed) - 1)

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.times = self.times or [time.perf_counter()]

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.times.append(time.perf_counter())
        if len(self.times) > WARM_UP + TIMED:
            raise Known


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
