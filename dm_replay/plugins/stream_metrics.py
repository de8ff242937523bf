"""What a stream's learner is judged by: accuracy over all experiences so far, forgetting, backward transfer."""

from statistics import mean

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue
from torch import Tensor

__all__ = ["StreamMetrics", "stream_metrics"]


def stream_metrics() -> list[PluginMetric]:
    """Metrics over the experiences of a stream, for ``EvaluationPlugin``; see :class:`StreamMetrics`.

    >>> from avalanche.training.plugins import EvaluationPlugin
    >>> from dm_replay import stream_metrics
    >>> metrics = stream_metrics()
    >>> evaluator = EvaluationPlugin(*metrics, loggers=[])
    >>> metrics[0].matrix.shape  # after each ``strategy.eval(benchmark.test_stream)`` a row
    torch.Size([0, 0])
    """
    return [StreamMetrics()]


class StreamMetrics(PluginMetric[dict]):
    """Emits, after each evaluation on a whole test stream, with a_ij the accuracy on experience j after experience i:

    - ``AverageAccuracy``: the mean of a_ij over the experiences j trained so far;
    - ``AverageIncrementalAccuracy``: the mean of that over the experiences i so far;
    - ``Forgetting``: over the experiences but the last, the mean of the best earlier a_ij less the present one;
    - ``BackwardTransfer``: over the same, the mean of the present a_ij less that right after training on j.

    Accuracies are in [0, 1]. An online stream counts by the experiences that it was split from. Where an experience
    is evaluated several times while it is trained, the last counts.

    Attributes:
        matrix: (trained and evaluated, experiences of the test stream), a_ij; NaN where none was measured.
    """

    def __init__(self):
        super().__init__()
        self._rows: dict[int, dict[int, float]] = {}  # of the experience trained last, accuracies by experience
        self._trained: list[int] = []
        self._counted: dict[int, list[int]] = {}  # right and all predictions of the evaluation that is running
        self.reset()

    @property
    def matrix(self) -> Tensor:
        columns = sorted({column for row in self._rows.values() for column in row})
        rows = [[row.get(column, float("nan")) for column in columns] for row in self._rows.values()]
        return torch.tensor(rows).view(len(rows), len(columns))

    def result(self) -> dict[str, float]:
        return self._values

    def reset(self) -> None:
        self._values: dict[str, float] = {}

    def __str__(self) -> str:
        return "Stream"

    def before_training_exp(self, strategy) -> None:
        experience = strategy.experience
        number = getattr(experience, "origin_experience", experience).current_experience
        if number not in self._trained:
            self._trained.append(number)

    def before_eval(self, strategy) -> None:
        self._counted = {}

    def after_eval_iteration(self, strategy) -> None:
        right = int((strategy.mb_output.argmax(1) == strategy.mb_y).sum())
        counts = self._counted.setdefault(strategy.experience.current_experience, [0, 0])
        counts[0] += right
        counts[1] += len(strategy.mb_y)

    def after_eval(self, strategy) -> list[MetricValue]:
        if not self._trained or not self._counted:
            return []
        self._rows[self._trained[-1]] = {number: right / of for number, (right, of) in sorted(self._counted.items())}
        self._values = self._summary()
        step = strategy.clock.train_iterations
        return [
            MetricValue(self, f"{self}_{name}/eval_phase/test_stream", value, step)
            for name, value in self._values.items()
        ]

    def _summary(self) -> dict[str, float]:
        averages = []
        for position, last in enumerate(self._trained, 1):
            row = self._rows.get(last, {})
            seen = [row[number] for number in self._trained[:position] if number in row]
            if seen:
                averages.append(mean(seen))
        now, before = self._rows[self._trained[-1]], [self._rows.get(number, {}) for number in self._trained[:-1]]
        lost, gained = [], []
        for number, after in zip(self._trained[:-1], before, strict=True):
            earlier = [row[number] for row in before if number in row]
            if number in now and earlier:
                lost.append(max(earlier) - now[number])
            if number in now and number in after:
                gained.append(now[number] - after[number])
        values = {"AverageAccuracy": averages[-1:], "AverageIncrementalAccuracy": averages}
        values |= {"Forgetting": lost, "BackwardTransfer": gained}
        return {name: mean(parts) for name, parts in values.items() if parts}
