"""The memory's metrics, and that each logger shows them with the experience that they belong to."""

import sys
from io import StringIO
from unittest.mock import MagicMock

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, split_online_stream
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metric_results import TensorImage
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger, TensorboardLogger, TextLogger
from avalanche.training.plugins import EvaluationPlugin
from streams import CLASSES, QUICK, Blobs, plain, strategy
from torch import nn

from dm_replay import save_checkpoint
from dm_replay.plugins.buffer import memory_grid
from dm_replay.plugins.metrics import condensed_memory_metrics
from dm_replay.plugins.replay import DMReplayPlugin


def test_metrics_are_logged_after_each_experience():
    replay, logged = DMReplayPlugin(6, **QUICK), []
    logger = MagicMock(log_metrics=logged.extend)
    evaluator = EvaluationPlugin(condensed_memory_metrics(mean=[0.5], std=[1.0]), loggers=[logger])
    learner = strategy(replay, evaluator=evaluator)
    for experience in plain().train_stream:
        learner.train(experience)
    values = [value for value in logged if value.name.startswith("CondensedMemory")]
    names = [value.name.split("/")[0].removeprefix("CondensedMemory_") for value in values]
    assert names == ["Grid", "Images", "Bytes", "Seconds"] * 3
    grid, images, nbytes, seconds = (value.value for value in values[-4:])
    assert (images, nbytes) == (6, 6 * (64 + 8) + 8) and 0 < seconds < 60
    assert isinstance(grid, TensorImage) and grid.image.shape == (3, 6 * 10 + 2, 1 * 10 + 2)


@pytest.mark.parametrize("known", [False, True], ids=["range", "normalization"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 12])
def test_a_picture_of_any_number_of_channels_is_one_that_tensorboard_takes(tmp_path, channels, known):
    about = dict(mean=[0.5] * channels, std=[0.5] * channels) if known else {}
    logger = TensorboardLogger(tmp_path)
    evaluator = EvaluationPlugin(condensed_memory_metrics(**about), loggers=[logger])
    replay = DMReplayPlugin(6, **QUICK)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, CLASSES))
    data = as_classification_dataset(
        Blobs(lambda x: x.repeat(channels, 1, 1) * torch.linspace(1, 2, channels)[:, None, None])
    )
    strategy(replay, evaluator=evaluator, model=model).train(benchmark_from_datasets(train=[data]).train_stream)
    grid = memory_grid(replay.storage_policy.memory, **about)
    assert grid.shape[0] == 3 and 0 <= grid.min() < grid.max() <= 1
    assert (channels > 2) == bool((grid[0] != grid[1]).any()), "the first three as RGB, else gray"


@pytest.fixture(params=[TextLogger, InteractiveLogger])
def log(request, monkeypatch):
    """(logger, the lines that it has printed so far)."""
    text = StringIO()
    if request.param is InteractiveLogger:
        monkeypatch.setattr(sys, "stdout", text)
    logger = TextLogger(text) if request.param is TextLogger else InteractiveLogger()
    return logger, lambda: text.getvalue().splitlines()


def learner_with(logger, size=6, **options):
    evaluator = EvaluationPlugin(condensed_memory_metrics(), loss_metrics(epoch=True, stream=True), loggers=[logger])
    return strategy(DMReplayPlugin(size, **QUICK), evaluator=evaluator, **options)


def order(lines):
    """What matters of the lines: trainings that begin, epochs that end, images in the memory, trainings that end."""
    marks = {"-- >> Start of training": "start", "Epoch": "epoch", "-- >> End of training": "end", "> Eval": "eval"}
    for line in lines:
        found = [mark for start, mark in marks.items() if line.startswith(start)]
        if "CondensedMemory_Images" in line:
            found = [int(line.rpartition(" ")[2])]
        yield from found


def test_text_loggers_print_the_memory_with_its_experience(log):
    logger, lines = log
    learner = learner_with(logger, 9)
    for number, experience in enumerate(plain().train_stream, 1):
        learner.train(experience)
        assert list(order(lines())) == ["start", "epoch", 9, "end"] * number
    assert sum("CondensedMemory_Bytes" in line for line in lines()) == 3
    assert sum("Loss_Epoch" in line for line in lines()) == 3


def test_text_loggers_print_the_memory_once_if_the_experiences_are_trained_in_one_call(log):
    logger, lines = log
    learner_with(logger).train(plain().train_stream)
    assert list(order(lines())) == ["start", *["epoch", 6] * 3, "end"]


@pytest.mark.parametrize("every", [-1, 0])
def test_evaluations_do_not_print_it_again(log, every):
    logger, lines = log
    learner, benchmark = learner_with(logger, eval_every=every), plain()
    for experience in benchmark.train_stream:
        learner.train(experience)
        learner.eval(benchmark.test_stream[:1])
    assert sum("CondensedMemory_Images" in line for line in lines()) == 3
    assert "eval" in order(lines())


def test_the_last_part_of_a_stream_is_printed_too(log):
    logger, lines = log
    learner_with(logger).train(
        split_online_stream(plain().train_stream, experience_size=6, access_task_boundaries=True, seed=0)
    )
    shown = list(order(lines()))
    assert shown.count(6) == 3 and shown[-2:] == [6, "end"]


def test_a_hundred_pictures_leave_nothing_behind(tmp_path):
    """What a checkpoint has more after a hundred experiences than after one is less than a single picture."""
    replay, text = DMReplayPlugin(60, kind="random", progress=False, **QUICK), TextLogger(StringIO())
    shown, saved = [], []
    pictures = MagicMock(log_metrics=lambda values: shown.extend(v for v in values if isinstance(v.value, TensorImage)))
    evaluator = EvaluationPlugin(condensed_memory_metrics(), loggers=[text, pictures])
    learner, stream = strategy(replay, evaluator=evaluator), plain()
    learner.train(stream.train_stream)
    for updates in (1, 99):
        for _ in range(updates):
            replay.storage_policy.memory.updates += 1
            evaluator.after_training_exp(learner)
        evaluator.loggers = []
        save_checkpoint(learner, tmp_path / "stream.pt")
        evaluator.loggers = [text, pictures]
        saved.append((tmp_path / "stream.pt").stat().st_size)
    picture = shown[-1].value.image.nbytes
    assert len(shown) == 103 and saved[1] - saved[0] < picture
    kept = [*evaluator.all_metric_results, *evaluator.last_metric_results, *text.metric_vals]
    assert kept and not any("Grid" in name for name in kept)
    assert not any(isinstance(value, TensorImage) for value in evaluator.metrics[0].result().values())
