"""Metrics for Avalanche's loggers: what a condensed memory holds, and what a stream's learner is judged by."""

import weakref
from collections.abc import Sequence
from statistics import mean
from typing import Any

import torch
from avalanche.benchmarks import OnlineCLExperience
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue, TensorImage
from avalanche.logging import TextLogger
from torch import Tensor

from .buffer import memory_grid
from .storage_policy import CondensedBuffer

__all__ = ["CondensedMemoryMetric", "StreamMetrics", "condensed_memory_metrics", "stream_metrics"]


def condensed_memory_metrics(
    *, grid: bool = True, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> list[PluginMetric]:
    """Metrics of the strategy's condensed memory, for ``EvaluationPlugin``.

    After each experience: the number of images, their bytes, the seconds of condensing and, for the loggers that show
    pictures, one of all images.

    Args:
        grid: whether to make the picture.
        mean, std: of the normalization, to show real pixel values.

    >>> from avalanche.training.plugins import EvaluationPlugin
    >>> from dm_replay import condensed_memory_metrics
    >>> evaluator = EvaluationPlugin(condensed_memory_metrics(grid=False), loggers=[])
    """
    return [CondensedMemoryMetric(grid, mean, std)]


class CondensedMemoryMetric(PluginMetric[dict]):
    """Emits all its values whenever the memory has changed.

    Text loggers, the interactive one among them, print what they hold after epochs and evaluations
    only, so that they would show these values, which come later, with the next experience or never.
    They are made to print them at once and then to forget them.

    The picture is given to the loggers alone: an evaluator, which keeps all values, would keep one for each experience.
    """

    def __init__(self, grid: bool, mean: Sequence[float] | None = None, std: Sequence[float] | None = None):
        super().__init__()
        self.grid, self.mean, self.std = grid, mean, std
        self.reset()

    def result(self) -> dict[str, float]:
        return self._values

    def reset(self) -> None:
        self._values: dict[str, float] = {}
        self._updates = 0

    def __str__(self) -> str:
        return "CondensedMemory"

    def before_training_exp(self, strategy) -> list[MetricValue]:
        buffer = _buffer_of(strategy)
        memory = buffer.memory
        if memory.updates == self._updates:
            return []
        self._updates = memory.updates
        self._values = {"Images": len(memory), "Bytes": memory.nbytes, "Seconds": buffer.seconds}
        step = strategy.clock.train_iterations
        values = [MetricValue(self, self._name(name), value, step) for name, value in self._values.items()]
        for logger in _text_loggers(strategy):
            held, logger.metric_vals = logger.metric_vals, {}
            logger.log_metrics(values)
            logger.print_current_metrics()
            logger.metric_vals = held
        if self.grid:
            picture = TensorImage(memory_grid(memory, self.mean, self.std))
            for logger in strategy.evaluator.loggers:
                if not isinstance(logger, TextLogger):  # which cannot show it, and would keep it
                    logger.log_metrics([MetricValue(self, self._name("Grid"), picture, step)])
        return values

    after_training_exp = after_training = before_training_exp

    def before_training_epoch(self, strategy) -> None:
        """Let the loggers forget what they have printed."""
        for logger in _text_loggers(strategy):
            for name in self._values:
                logger.metric_vals.pop(self._name(name), None)

    before_eval = before_training_epoch

    def _name(self, value: str) -> str:
        return f"{self}_{value}/train_phase"


def _text_loggers(strategy) -> list[TextLogger]:
    return [logger for logger in strategy.evaluator.loggers if isinstance(logger, TextLogger)]


def _buffer_of(strategy) -> CondensedBuffer:
    """The condensed buffer of the strategy or of one of its plugins."""
    for owner in (strategy, *strategy.plugins):
        policy = getattr(owner, "storage_policy", None)
        if isinstance(policy, CondensedBuffer):
            return policy
    raise ValueError("condensed_memory_metrics needs a plugin with a CondensedBuffer")


def stream_metrics(stream: str = "test") -> list[PluginMetric]:
    """Metrics over the experiences of a stream, for ``EvaluationPlugin``; see :class:`StreamMetrics`.

    Args:
        stream: the name of the stream that counts; evaluations on others, as on the training stream, do not.

    >>> from avalanche.training.plugins import EvaluationPlugin
    >>> from dm_replay import stream_metrics
    >>> metrics = stream_metrics()
    >>> evaluator = EvaluationPlugin(*metrics, loggers=[])
    >>> metrics[0].matrix.shape  # after each ``strategy.eval(benchmark.test_stream)`` a row
    torch.Size([0, 0])
    """
    return [StreamMetrics(stream)]


class StreamMetrics(PluginMetric[dict]):
    """Emits, after each evaluation on the test stream, with a_ij the accuracy on experience j after training i:

    - ``AverageAccuracy``: the mean of a_ij over the experiences j trained so far;
    - ``AverageIncrementalAccuracy``: the mean of that over the trainings i so far;
    - ``Forgetting``: over the experiences but the last, the mean of the best earlier a_ij less the present one;
    - ``BackwardTransfer``: over the same, the mean of the present a_ij less that right after training on j.

    Accuracies are in [0, 1]. An experience that is trained again has one more row, and its last training counts for
    the backward transfer. An online stream counts by the experiences that it was split from. Of an experience that is
    evaluated several times in one training the last counts; those evaluated one by one come together in one row.

    Another strategy begins anew, if it has not been trained; two strategies in turn need an evaluator each.

    Attributes:
        matrix: (trainings that were evaluated, experiences of the test stream), a_ij; NaN where none was measured.
    """

    _strategy: weakref.ref | None  # followed so far; None also after loading, when its successor goes on

    def __init__(self, stream: str = "test"):
        super().__init__()
        self.stream = stream
        self._strategy = None
        self.reset()

    @property
    def matrix(self) -> Tensor:
        columns = sorted({column for row in self._rows.values() for column in row})
        rows = [[row.get(column, float("nan")) for column in columns] for row in self._rows.values()]
        return torch.tensor(rows).view(len(rows), len(columns))

    def result(self) -> dict[str, float]:
        return self._values

    def reset(self) -> None:
        self._trained: list[int] = []  # the experience of each training
        self._rows: dict[int, dict[int, float]] = {}  # by the number of the training, accuracies by experience
        self._counted: dict[int, list[int]] = {}  # right and all predictions of the evaluation that is running
        self._values: dict[str, float] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_strategy": None}

    def __str__(self) -> str:
        return "Stream"

    def before_training_exp(self, strategy) -> None:
        self._follow(strategy)
        experience = strategy.experience
        number = getattr(experience, "origin_experience", experience).current_experience
        part = isinstance(experience, OnlineCLExperience) and not experience.is_first_subexp
        if not part or self._trained[-1:] != [number]:
            self._trained.append(number)

    def before_eval(self, strategy) -> None:
        self._follow(strategy)
        self._counted = {}

    def after_eval_iteration(self, strategy) -> None:
        stream = getattr(strategy.experience, "origin_stream", None)
        if stream is not None and stream.name != self.stream:
            return
        right = int((strategy.mb_output.argmax(1) == strategy.mb_y).sum())
        counts = self._counted.setdefault(strategy.experience.current_experience, [0, 0])
        counts[0] += right
        counts[1] += len(strategy.mb_y)

    def after_eval(self, strategy) -> list[MetricValue]:
        if not self._trained or not self._counted:
            return []
        row = self._rows.setdefault(len(self._trained) - 1, {})
        row |= {number: right / of for number, (right, of) in self._counted.items()}
        self._values = self._summary()
        step = strategy.clock.train_iterations
        return [
            MetricValue(self, f"{self}_{name}/eval_phase/{self.stream}_stream", value, step)
            for name, value in self._values.items()
        ]

    def _follow(self, strategy) -> None:
        if self._strategy is not None and self._strategy() is not strategy:
            if strategy.clock.train_exp_counter:
                raise ValueError("stream_metrics follow another strategy by now: give each strategy its own evaluator")
            self.reset()
        self._strategy = weakref.ref(strategy)

    def _summary(self) -> dict[str, float]:
        rows = [self._rows.get(training, {}) for training in range(len(self._trained))]
        averages = []
        for last, row in enumerate(rows, 1):
            seen = [row[number] for number in dict.fromkeys(self._trained[:last]) if number in row]
            if seen:
                averages.append(mean(seen))
        now, before = rows[-1], rows[:-1]
        latest = dict(zip(self._trained, rows, strict=True))  # of each experience, the row right after it was trained
        lost, gained = [], []
        for number, after in latest.items():
            if number == self._trained[-1] or number not in now:
                continue
            earlier = [row[number] for row in before if number in row]
            if earlier:
                lost.append(max(earlier) - now[number])
            if number in after:
                gained.append(now[number] - after[number])
        values = {"AverageAccuracy": averages[-1:], "AverageIncrementalAccuracy": averages}
        values |= {"Forgetting": lost, "BackwardTransfer": gained}
        return {name: mean(parts) for name, parts in values.items() if parts}
