"""What a condensed memory holds, as metrics for Avalanche's loggers."""

from collections.abc import Sequence

import torch
from avalanche.evaluation import PluginMetric
from avalanche.evaluation.metric_results import MetricValue, TensorImage
from avalanche.logging import TextLogger
from torch import Tensor
from torchvision.utils import make_grid

from ..replay.memory import CondensedMemory
from .storage_policy import CondensedBuffer

__all__ = ["CondensedMemoryMetric", "condensed_memory_metrics", "memory_grid"]


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

    def before_training_exp(self, strategy) -> list[MetricValue]:
        return self._emit(strategy)

    def after_training_exp(self, strategy) -> list[MetricValue]:
        return self._emit(strategy)

    def after_training(self, strategy) -> list[MetricValue]:
        return self._emit(strategy)

    def before_training_epoch(self, strategy) -> None:
        self._forget_printed(strategy)

    def before_eval(self, strategy) -> None:
        self._forget_printed(strategy)

    def __str__(self) -> str:
        return "CondensedMemory"

    def _emit(self, strategy) -> list[MetricValue]:
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
            self._show(strategy, TensorImage(memory_grid(memory, self.mean, self.std)), step)
        return values

    def _show(self, strategy, picture: TensorImage, step: int) -> None:
        """Give it to the loggers of pictures; those of text cannot show it and would keep it."""
        text = _text_loggers(strategy)
        for logger in strategy.evaluator.loggers:
            if logger not in text:
                logger.log_metrics([MetricValue(self, self._name("Grid"), picture, step)])

    def _forget_printed(self, strategy) -> None:
        for logger in _text_loggers(strategy):
            for name in self._values:
                logger.metric_vals.pop(self._name(name), None)

    def _name(self, value: str) -> str:
        return f"{self}_{value}/train_phase"


def memory_grid(
    memory: CondensedMemory, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Tensor:
    """(3, height, width) in [0, 1]: a row for each group in order of arrival, mosaics as they are stored.

    Images of two channels are shown by their mean, as gray; of more than three by the first three, as RGB. Without mean
    and std, the middle 98% of the values of these span the range from black to white.
    """
    groups = [part.as_stored().images for part in memory.groups.values()]
    if mean is None or std is None:
        groups = [_visible(part) for part in groups]
        values = torch.cat([part.flatten() for part in groups]).sort().values
        low, high = values[int(0.01 * (len(values) - 1))], values[int(0.99 * (len(values) - 1))]
        scale, offset = 1 / (high - low).clamp_min(1e-6), -low / (high - low).clamp_min(1e-6)
    else:
        scale, offset = (torch.tensor(values)[:, None, None] for values in (std, mean))
    groups = [_visible((part * scale + offset).clamp(0, 1)) for part in groups]
    longest = max(map(len, groups))
    tiles = torch.zeros(len(groups), longest, *groups[0].shape[1:])
    for row, part in zip(tiles, groups, strict=True):
        row[: len(part)] = part
    return make_grid(tiles.flatten(0, 1), nrow=longest)


def _visible(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 3, H, W), or (N, 1, H, W) for gray."""
    channels = images.shape[1]
    return images.mean(1, keepdim=True) if channels == 2 else images[:, :3]


def _text_loggers(strategy) -> list[TextLogger]:
    return [logger for logger in strategy.evaluator.loggers if isinstance(logger, TextLogger)]


def _buffer_of(strategy) -> CondensedBuffer:
    """The condensed buffer of the strategy or of one of its plugins."""
    for owner in (strategy, *strategy.plugins):
        policy = getattr(owner, "storage_policy", None)
        if isinstance(policy, CondensedBuffer):
            return policy
    raise ValueError("condensed_memory_metrics needs a plugin with a CondensedBuffer")
