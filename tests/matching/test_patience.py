"""Iterations, but no more than there is time for."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from dm_replay import CondenseConfig, CondensedMemory, DMReplayPlugin, condense
from dm_replay.matching.progress import Schedule

CONFIG = CondenseConfig.preset(
    "fast",
    ipc=2,
    iterations=6,
    batch_real=8,
    network="convnet:width=8",
    extractor_steps=2,
    compile="no",
    device="cpu",
)


@pytest.fixture
def clock(monkeypatch):
    """Whose hands the test moves."""
    hands = SimpleNamespace(now=0.0)
    hands.perf_counter = lambda: hands.now
    monkeypatch.setattr("dm_replay.matching.progress.time", hands)
    return hands


def parts(config, clock, each, prepared=0.0):
    """Of a run whose iterations take ``each`` seconds, after a preparation."""
    schedule, made, clock.now = Schedule(config, began=0.0), [], prepared
    while (part := schedule.progress(len(made))) < 1:
        made.append(part)
        clock.now += each
    return made


def test_a_run_that_is_fast_enough_is_what_it_would_be_without(pool, clock):
    config = replace(CONFIG, iterations=200, patience=60.0)
    assert parts(config, clock, 0.2, prepared=15.0) == parts(replace(config, patience=None), clock, 9.0)
    assert torch.equal(condense(pool, replace(CONFIG, patience=1e9)).images, condense(pool, CONFIG).images)


@pytest.mark.parametrize(
    ("each", "prepared", "most"), [(1.0, 0.0, 60), (2.0, 20.0, 20), (100.0, 0.0, 1), (0.1, 99.0, 1)]
)
def test_a_slow_run_ends_in_time_and_its_schedule_with_it(clock, each, prepared, most):
    made = parts(replace(CONFIG, iterations=200, patience=60.0), clock, each, prepared)
    assert len(made) in (most, most + 1)
    assert clock.now <= max(60.0, prepared) + each
    assert made == sorted(made) and made[0] == 0
    if most > 1:
        assert made[-1] > 1 - 3 / most, "the learning rate has fallen"


def test_what_was_spent_before_counts(clock):
    schedule = Schedule(replace(CONFIG, patience=60.0), spent=60.0, began=0.0)
    assert schedule.progress(1) == 1


def test_patience_bounds_the_training_of_networks_and_the_steps(pool):
    made, endless = [], {"iterations": 10**9, "extractor_steps": 10**9}
    result = condense(pool, replace(CONFIG, **endless, patience=0.5), on_step=lambda step: made.append(step))
    assert result.images.isfinite().all() and made[-1].part == 1 and "seconds" in made[-1].state


def test_the_default_is_bounded_and_what_is_asked_for_is_made():
    def bounds(**settings):
        config = DMReplayPlugin(12, **settings).storage_policy.memory.config
        return config.iterations, config.seconds, config.patience

    assert bounds() == (200, None, 60.0) and CondensedMemory(12).config.patience == 60.0
    assert bounds(iterations=300) == (300, None, None)
    assert bounds(seconds=3.0)[1:] == (3.0, None)
    assert bounds(iterations=300, patience=5.0) == (300, None, 5.0)


def test_the_jobs_of_an_update_share_the_patience(pool):
    memory = CondensedMemory(9, config=replace(CONFIG, patience=0.4, iterations=10**9, extractor_steps=10**9))
    memory.update(pool)
    assert len(memory) == 9


def test_patience_is_a_time():
    with pytest.raises(ValueError, match="patience must be above 0, got 0"):
        CondenseConfig.preset("paper", patience=0)
