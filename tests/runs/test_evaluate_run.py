"""Evaluating several sets likewise; the processes of a job are in test_distributed."""

import contextlib
from dataclasses import replace

import pytest
import torch
from sets import random_set

from dm_replay.condensed.image_set import ImageSet
from dm_replay.evaluation.evaluate import evaluate
from dm_replay.evaluation.recipe import EvalConfig
from dm_replay.runs import jobs as module
from dm_replay.runs.jobs import evaluate_run
from dm_replay.runtime.distributed import World
from dm_replay.runtime.stages import progress_bar

CONFIG = EvalConfig().but(epochs=2, device="cpu", compile="no")
HOW = {"network": "convnet:width=4,depth=1", "seed": 3}


@pytest.fixture
def sets(pool):
    return {"one": random_set(pool, 2, seed=0), "two": random_set(pool, 3, seed=1)}


def test_the_reports_are_those_of_evaluate(sets, pool, capsys):
    reports = evaluate_run(sets, pool, CONFIG, **HOW, runs=2, quiet=True)
    assert list(reports) == ["one", "two"] and not capsys.readouterr().err
    for name, report in reports.items():
        alone = evaluate(sets[name], pool, CONFIG, **HOW, runs=2)
        assert report.accuracies == alone.accuracies and report.settings == alone.settings and report.seconds > 0


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_several_processes_are_the_runs_of_one(sets, pool, monkeypatch, size):
    """Each process makes its runs, with their numbers; more processes than runs have none to make."""
    whole = evaluate_run(sets, pool, CONFIG, **HOW, runs=2, first=5, quiet=True)
    parts = []
    monkeypatch.setattr(World, "gather", lambda self, rows: rows)
    for rank in range(size):
        world = World(rank, size)
        monkeypatch.setattr(module, "joined", lambda world=world: contextlib.nullcontext(world))
        parts.append(evaluate_run(sets, pool, CONFIG, **HOW, runs=2, first=5, quiet=True))
    for name in sets:
        assert sum((part[name].accuracies for part in parts), ()) == whole[name].accuracies


@pytest.mark.parametrize("steps", [None, 1, 2, 3, 7, 12])
def test_the_bar_counts_to_its_total(sets, pool, monkeypatch, steps):
    """Whatever the images of a set: with a budget in steps, more of them take fewer epochs."""
    bars = []

    def noted(*args, **how):
        bars.append(progress_bar(*args, **how))
        return bars[-1]

    monkeypatch.setattr(module, "progress_bar", noted)
    config = replace(CONFIG, steps=steps, batch=4)
    evaluate_run(sets, pool, config, **HOW, runs=2)
    assert [bar.n for bar in bars] == [bar.total for bar in bars] and all(bar.n for bar in bars)


def test_bad_input(sets, pool):
    with pytest.raises(ValueError, match="runs must be a whole number of at least 1, got 0"):
        evaluate_run(sets, pool, CONFIG, runs=0)
    other = ImageSet.from_images(torch.zeros(1, 1, 8, 8), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"\(1, 8, 8\)"):
        evaluate_run({"other": other}, pool, CONFIG, **HOW)
