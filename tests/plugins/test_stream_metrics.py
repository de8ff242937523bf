"""Accuracy over the experiences of a stream, against sums by hand."""

from unittest.mock import MagicMock

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.evaluation.metrics import forgetting_metrics
from avalanche.training.plugins import EvaluationPlugin
from streams import CLASSES, plain, strategy
from torch import nn

from dm_replay import stream_metrics


class Table(nn.Module):
    """Says of each image of class c what ``answers[c]`` says; images of :func:`plain` are told apart by their mean."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.right: set[int] = set()

    def forward(self, images):
        classes = ((images.mean((1, 2, 3)) - 0.5) * 10).round().clamp(0, CLASSES - 1).long()
        said = torch.tensor([c if c in self.right else (c + 1) % CLASSES for c in classes.tolist()])
        return nn.functional.one_hot(said, CLASSES).float() + 0 * self.weight


def walk(stream, knows, metrics):
    """After experience i the network is right about the classes knows[i]; returns what was logged last."""
    logged = []
    evaluator = EvaluationPlugin(*metrics, loggers=[MagicMock(log_metrics=logged.extend)])
    learner = strategy(model=Table(), evaluator=evaluator)
    for experience, right in zip(stream.train_stream, knows, strict=True):
        learner.train(experience)
        learner.model.right = set(right)
        learner.eval(stream.test_stream)
    return {value.name.split("/")[0]: value.value for value in logged}


def accuracy(right, experience):
    images = torch.stack([plain().test_stream[experience].dataset[k][0] for k in range(24)])
    labels = torch.tensor([plain().test_stream[experience].dataset[k][1] for k in range(24)])
    table = Table()
    table.right = set(right)
    return float((table(images).argmax(1) == labels).float().mean())


def test_the_figures_are_those_of_the_definitions():
    knows, metrics = ([0, 1, 4], [1, 2, 3], [0, 2, 4, 5]), stream_metrics()
    values = walk(plain(), knows, metrics)
    a = torch.tensor([[accuracy(right, j) for j in range(3)] for right in knows])
    torch.testing.assert_close(metrics[0].matrix, a)
    averages = [a[0, 0], a[1, :2].mean(), a[2].mean()]
    assert values["Stream_AverageAccuracy"] == pytest.approx(float(averages[2]))
    assert values["Stream_AverageIncrementalAccuracy"] == pytest.approx(float(sum(averages) / 3))
    lost = (max(a[0, 0], a[1, 0]) - a[2, 0] + a[1, 1].maximum(a[0, 1]) - a[2, 1]) / 2
    assert values["Stream_Forgetting"] == pytest.approx(float(lost))
    assert values["Stream_BackwardTransfer"] == pytest.approx(float((a[2, 0] - a[0, 0] + a[2, 1] - a[1, 1]) / 2))


def test_forgetting_is_avalanches_where_it_has_it():
    values = walk(plain(), ([0, 1], [1, 2, 3], [0, 2, 4, 5]), [*stream_metrics(), forgetting_metrics(stream=True)])
    assert values["Stream_Forgetting"] == pytest.approx(-values["Stream_BackwardTransfer"])
    assert values["Stream_Forgetting"] == pytest.approx(values["StreamForgetting"])


def test_an_online_stream_counts_by_the_experiences_it_was_split_from():
    stream, metrics = plain(), stream_metrics()
    learner = strategy(model=Table(), evaluator=EvaluationPlugin(*metrics, loggers=[]), train_mb_size=8)
    parts = split_online_stream(stream.train_stream, experience_size=8, access_task_boundaries=True)
    for number, experience in enumerate(parts):
        learner.model.right = {0, 1, 2} if number < 6 else {1, 2, 3, 4, 5}
        learner.train(experience)
        learner.eval(stream.test_stream)
    assert metrics[0].matrix.shape == (3, 3)
    lost = accuracy({0, 1, 2}, 0) - accuracy({1, 2, 3, 4, 5}, 0) + accuracy({0, 1, 2}, 1) - accuracy({1, 2, 3, 4, 5}, 1)
    assert metrics[0].result()["Forgetting"] == pytest.approx(lost / 2, abs=1e-6)
