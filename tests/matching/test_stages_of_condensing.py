"""All of a condensation is one progress, with its preparations."""

import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dm_replay import CondenseConfig, CondensedMemory, condense, load_dataset
from dm_replay.matching import condense as condensing
from dm_replay.matching.prepared import Extractors, Prepared
from dm_replay.matching.progress import Expected, Schedule
from dm_replay.runs.jobs import condense_run
from dm_replay.runtime.engine import Engine
from dm_replay.runtime.stages import watched_by

CONFIG = CondenseConfig.preset(
    "fast",
    ipc=2,
    iterations=4,
    batch_real=8,
    network="convnet:width=8",
    extractor_steps=3,
    compile="no",
    device="cpu",
)
STAGES = ["choosing images", "training networks", "condensing"]


def told(work):
    seen = []
    with watched_by(lambda *what: seen.append(what)):
        work()
    stages, parts = zip(*seen, strict=True)
    return list(dict.fromkeys(stages)), list(parts)


def check(parts, begin=0.0):
    assert parts == sorted(parts) and parts[0] == pytest.approx(begin) and parts[-1] == pytest.approx(1.0)


def test_preparations_are_a_part_of_it(pool):
    stages, parts = told(lambda: condense(pool, CONFIG))
    assert stages == STAGES
    check(parts)
    assert len(set(parts)) > 3 + 2 * 3 + 3


def test_a_resumed_run_begins_where_it_was(pool):
    states = []
    condense(pool, CONFIG, on_step=lambda step: states.append(step.state))
    stages, parts = told(lambda: condense(pool, CONFIG, state=states[1]))
    assert stages == STAGES[1:]
    assert 0 < parts[0] < 0.5 and parts == sorted(parts) and parts[-1] == pytest.approx(1.0)


def test_a_run_of_seconds_goes_by_the_clock(pool, monkeypatch):
    hands = SimpleNamespace(now=0.0)
    hands.perf_counter = lambda: hands.now
    monkeypatch.setattr("dm_replay.matching.progress.time", hands)
    monkeypatch.setattr(condensing, "Schedule", lambda config, spent, began: Schedule(config, spent, 0.0))

    def tick(step):
        hands.now += 25.0

    _, parts = told(lambda: condense(pool, replace(CONFIG, seconds=100.0), on_step=tick))
    assert set(parts) == {0.0, 0.25, 0.5, 0.75, 1.0} and parts == sorted(parts)


@pytest.mark.parametrize("kind", ["condensed", "herding"])
def test_the_jobs_of_a_memory_follow_each_other(pool, kind):
    memory = CondensedMemory(8, config=replace(CONFIG, prefix_weight=0.0), kind=kind)  # 3, 3 and 2 images: two jobs
    stages, parts = told(lambda: memory.update(pool))
    assert stages == (STAGES if kind == "condensed" else STAGES[:1])
    check(parts)
    assert 0.5 in [round(part, 6) for part in parts]


def test_compiling_is_expected_in_the_first_step_of_each_stage(pool):
    job = Prepared.of(pool, replace(CONFIG, iterations=200), None, None, None, Extractors())
    compiled = replace(job, engine=Engine(torch.device("cpu"), torch.float32, True, 16))
    expected = Expected.of(compiled, classes=3, iteration=0)
    first = expected.of_training(1e-9) - expected.of_training(0.0), expected.of_steps(1e-9) - expected.of_steps(0.0)
    assert first[0] == pytest.approx(first[1], rel=1e-4) and first[0] > 0.1
    assert expected.of_start(1.0) == pytest.approx(expected.of_training(0.0))
    assert expected.of_training(1.0) == pytest.approx(expected.of_steps(0.0)) and expected.of_steps(1.0) == 1.0


def test_ctrl_c_in_the_preparation_of_a_run_stops_it_at_once(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr("dm_replay.matching.prepared.train_networks", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped before the first iteration"):
        condense_run(tmp_path / "run", load_dataset("digits"), CONFIG, quiet=True)
    assert not (tmp_path / "run" / "run.json").exists()
