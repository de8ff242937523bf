"""Training on what is taken for an accelerator, with faults planted into its fast path."""

import pytest
import torch
from sets import random_set

from dm_replay import EvalConfig, evaluate
from dm_replay.evaluation.recipe import JointSGD
from dm_replay.evaluation.trainer import Trainer, probe, verified_engine
from dm_replay.runtime import self_check
from dm_replay.runtime.engine import Engine, plain

CPU = torch.device("cpu")
FAST = Engine(CPU, torch.bfloat16, False, chunk=64)
CONFIG = EvalConfig().but(epochs=3, compile="no", precision="bfloat16", device="cpu")
NETWORK = "convnet:width=16"


@pytest.fixture
def accelerator(monkeypatch):
    """The CPU is taken for one, and for one that can make graphs: a graph is the function itself."""
    monkeypatch.setattr(Engine, "accelerated", True)
    monkeypatch.setattr("dm_replay.evaluation.trainer.cuda_graphed", lambda function, device: function)
    monkeypatch.setattr(self_check, "_known", {})


@pytest.fixture
def few(pool):
    return random_set(pool, 4)


def update(monkeypatch):
    """Two networks side by side, one of which is given the other's gradient."""
    right = JointSGD._update

    def wrong(self, number, gradients):
        self.last = gradients if number == 0 or not wrong.planted else self.last
        right(self, number, self.last if wrong.planted else gradients)

    planned = Trainer.train_together

    def train_together(self, *args, **how):
        wrong.planted = self.engine.graphs
        return planned(self, *args, **how)

    monkeypatch.setattr(JointSGD, "_update", wrong)
    monkeypatch.setattr(Trainer, "train_together", train_together)


def nan(monkeypatch):
    right = Trainer._logits

    def wrong(self, *args):
        return right(self, *args) / (self.engine.dtype != torch.bfloat16)

    monkeypatch.setattr(Trainer, "_logits", wrong)


def capture(monkeypatch):
    def refused(function, device):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr("dm_replay.evaluation.trainer.cuda_graphed", refused)


@pytest.mark.parametrize(
    ("fault", "said"),
    [(update, "update differs"), (nan, "loss differs .* by inf"), (capture, "the fast path raised RuntimeError: CUDA")],
)
def test_a_fault_leads_to_the_plain_path(few, pool, monkeypatch, accelerator, fault, said):
    fault(monkeypatch)
    with pytest.warns(UserWarning, match=f"cpu runs the plain path.*{said}") as caught:
        report = evaluate(few, pool, CONFIG, network=NETWORK, runs=2)
    assert len(caught) == 1
    engine = report.settings["engine"]
    assert (engine["dtype"], engine["graphs"]) == ("float32", False)
    assert engine["self_check"]["fallback"] in str(caught[0].message)


def test_a_healthy_path_is_left_as_it_is(few, pool, monkeypatch, accelerator, recwarn):
    checked = evaluate(few, pool, CONFIG, network=NETWORK, runs=2)
    assert not recwarn and checked.settings["engine"]["dtype"] == "bfloat16"
    assert checked.settings["engine"]["self_check"]["fallback"] is None
    monkeypatch.setattr(Engine, "accelerated", False)
    assert evaluate(few, pool, CONFIG, network=NETWORK, runs=2).accuracies == checked.accuracies


@pytest.mark.parametrize("network", ["convnet", "convnet:norm=batch", "convnet:norm=none,pooling=max"])
def test_bfloat16_stays_within_what_is_allowed(few, network):
    labels = torch.searchsorted(few.classes, few.labels)
    differences, wrong = self_check.compare(
        FAST, lambda engine: probe(engine, network, few.images, labels, 3, EvalConfig())
    )
    assert wrong is None
    errors = differences["the fast path, the plain path"]
    assert 0 < errors["update"] < errors["allowed"]


def test_a_configuration_is_checked_once(few, accelerator, monkeypatch):
    calls = []
    monkeypatch.setattr("dm_replay.evaluation.trainer.probe", lambda engine, **how: calls.append(engine) or {})
    for epochs in (3, 100):
        engine = verified_engine(FAST, NETWORK, few.images, few.labels, 3, EvalConfig(epochs=epochs))
    assert len(calls) == 4 and engine == FAST != plain(FAST)


def test_networks_that_do_not_fit_side_by_side_take_turns(few, pool, monkeypatch):
    right, together = Trainer.train_together, []

    def hungry(self, images, labels, seeds, *args):
        together.append(len(seeds))
        if len(seeds) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return right(self, images, labels, seeds, *args)

    config = EvalConfig().but(epochs=1, compile="no", device="cpu", parallel_networks=4)
    expected = evaluate(few, pool, config, network=NETWORK, runs=6).accuracies
    monkeypatch.setattr(Trainer, "train_together", hungry)
    with pytest.warns(UserWarning, match="cpu has too little memory for 3 networks at a time: it takes 1") as caught:
        report = evaluate(few, pool, config, network=NETWORK, runs=6)
    assert len(caught) == 1 and together == [3, 1, 1, 1, 1, 1, 1]
    assert report.accuracies == pytest.approx(expected, abs=8) and report.settings["engine"]["parallel_networks"] == 1
