"""Accuracy over the experiences of a stream, against sums by hand."""

from unittest.mock import MagicMock

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.evaluation.metrics import forgetting_metrics
from avalanche.training.plugins import EvaluationPlugin
from streams import CLASSES, plain, strategy
from torch import nn

from dm_replay import load_checkpoint, save_checkpoint, stream_metrics


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
    dataset = plain().test_stream[experience].dataset
    images, labels = torch.stack([item[0] for item in dataset]), torch.tensor([item[1] for item in dataset])
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


def learner_with(metrics, *, evaluator=None, **options):
    return strategy(model=Table(), evaluator=evaluator or EvaluationPlugin(*metrics, loggers=[]), **options)


def row(right):
    return [accuracy(right, j) for j in range(3)]


def seen_after(learner, metrics, stream, trainings):
    """Train on experience i and know the classes after it, for each (i, classes); the rows of the matrix."""
    for number, right in trainings:
        learner.train(stream.train_stream[number])
        learner.model.right = set(right)
        learner.eval(stream.test_stream)
    return metrics[0].matrix


def test_a_new_strategy_begins_anew():
    metrics = stream_metrics()
    evaluator = EvaluationPlugin(*metrics, loggers=[])
    for right in ([0, 1], [2, 3, 4]):
        learner = learner_with(metrics, evaluator=evaluator)
        matrix = seen_after(learner, metrics, plain(), [(0, right), (2, [5])])
        torch.testing.assert_close(matrix, torch.tensor([row(right), row([5])]))


def test_two_strategies_in_turn_are_refused():
    metrics = stream_metrics()
    evaluator = EvaluationPlugin(*metrics, loggers=[])
    first, second = (learner_with(metrics, evaluator=evaluator) for _ in range(2))
    for learner in (first, second):
        learner.train(plain().train_stream[0])
    for meets in (lambda: first.train(plain().train_stream[1]), lambda: first.eval(plain().test_stream)):
        with pytest.raises(ValueError, match="give each strategy its own evaluator"):
            meets()


def test_a_loaded_strategy_goes_on(tmp_path):
    metrics = stream_metrics()
    learner = learner_with(metrics)
    seen_after(learner, metrics, plain(), [(0, [0, 1])])
    save_checkpoint(learner, tmp_path / "stream.pt")
    back = load_checkpoint(tmp_path / "stream.pt")
    matrix = seen_after(back, back.evaluator.metrics, plain(), [(1, [1, 2])])
    torch.testing.assert_close(matrix, torch.tensor([row([0, 1]), row([1, 2])]))


def test_an_experience_trained_again_is_a_row_of_its_own():
    metrics, knows = stream_metrics(), ([0, 1, 4], [1, 2, 3], [0, 5])
    matrix = seen_after(learner_with(metrics), metrics, plain(), zip((0, 1, 0), knows, strict=True))
    a = torch.tensor([row(right) for right in knows])
    torch.testing.assert_close(matrix, a)
    values = metrics[0].result()
    averages = [a[0, 0], a[1, :2].mean(), a[2, :2].mean()]
    assert values["AverageIncrementalAccuracy"] == pytest.approx(float(sum(averages) / 3))
    assert values["Forgetting"] == pytest.approx(float(a[:2, 1].max() - a[2, 1]))
    assert values["BackwardTransfer"] == pytest.approx(float(a[2, 1] - a[1, 1]))


@pytest.mark.parametrize("during", [False, True])
def test_only_the_test_stream_counts(during):
    metrics, stream = stream_metrics(), plain()
    learner = learner_with(metrics, eval_every=0 if during else -1)
    learner.model.right = {0, 3}
    learner.train(stream.train_stream[0], eval_streams=[stream.train_stream])
    assert metrics[0].matrix.shape == (0, 0)
    learner.eval(stream.test_stream)
    learner.model.right = {1, 4}
    logged = learner.eval(stream.train_stream)
    torch.testing.assert_close(metrics[0].matrix, torch.tensor([row([0, 3])]))
    assert logged["Stream_AverageAccuracy/eval_phase/test_stream"] == pytest.approx(row([0, 3])[0])


def test_another_stream_counts_where_it_is_named():
    metrics, stream = stream_metrics("train"), plain()
    learner = learner_with(metrics)
    learner.train(stream.train_stream[0])
    learner.model.right = {0}
    learner.eval(stream.test_stream)
    assert metrics[0].matrix.shape == (0, 0)
    assert "Stream_AverageAccuracy/eval_phase/train_stream" in learner.eval(stream.train_stream)


def test_experiences_evaluated_one_by_one_come_together_in_one_row():
    stream, together, apart = plain(), stream_metrics(), stream_metrics()
    learners = [learner_with(together), learner_with(apart)]
    for number, right in enumerate(([0, 1, 4], [1, 2, 3])):
        for learner in learners:
            learner.train(stream.train_stream[number])
            learner.model.right = set(right)
        learners[0].eval(stream.test_stream)
        for experience in reversed(stream.test_stream):
            learners[1].eval(experience)
    torch.testing.assert_close(apart[0].matrix, together[0].matrix)
    assert apart[0].result() == together[0].result()


def test_an_online_stream_that_hides_its_boundaries_and_comes_again_counts_by_its_experiences():
    stream, metrics = plain(), stream_metrics()
    learner = learner_with(metrics, train_mb_size=8)
    for _ in range(2):
        for experience in split_online_stream(stream.train_stream[:1], experience_size=8, seed=0):
            learner.train(experience)
            learner.eval(stream.test_stream)
    assert metrics[0].matrix.shape == (2, 3)
