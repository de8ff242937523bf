"""Condensing on what is taken for an accelerator, with faults planted into its fast path."""

import warnings

import pytest
import torch

from dm_replay import CondenseConfig, TensorPool, condense
from dm_replay.matching.engine import probe, verified_engine
from dm_replay.matching.extractors import Extractor
from dm_replay.matching.matcher import Matcher
from dm_replay.runtime import self_check
from dm_replay.runtime.engine import Engine
from dm_replay.runtime.seeding import RoleStreams

CPU = torch.device("cpu")
FAST = Engine(CPU, torch.bfloat16, False, chunk=64)
CONFIG = CondenseConfig.preset(
    "paper",
    ipc=2,
    iterations=5,
    batch_real=8,
    network="convnet:width=16",
    compile="no",
    precision="bfloat16",
    device="cpu",
)


@pytest.fixture
def accelerator(monkeypatch):
    """The CPU is taken for one, and for one that can make graphs: a graph is the function itself."""
    monkeypatch.setattr(Engine, "accelerated", True)
    monkeypatch.setattr(Matcher, "_can_be_graphed", property(lambda matcher: matcher.engine.graphs))
    monkeypatch.setattr("dm_replay.matching.matcher.cuda_graphed", lambda function, device, generators: function)
    monkeypatch.setattr(self_check, "_known", {})


def sign(monkeypatch):
    right = Matcher.gradient

    def wrong(self, *args):
        loss, gradient = right(self, *args)
        return loss, -gradient if self.engine.graphs else gradient

    monkeypatch.setattr(Matcher, "gradient", wrong)


def nan(monkeypatch):
    right = Extractor._embed_real

    def wrong(self, *args):
        return right(self, *args) / (self.dtype != torch.bfloat16)

    monkeypatch.setattr(Extractor, "_embed_real", wrong)


def capture(monkeypatch):
    def refused(function, device, generators):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr("dm_replay.matching.matcher.cuda_graphed", refused)


def stale(monkeypatch):
    """A graph that has not been told of its generators draws the same at each replay."""
    right = Matcher.step

    def wrong(self, iteration, lr=1.0):
        if self.engine.graphs:
            self._streams.move_to = lambda iteration: RoleStreams.move_to(self._streams, 0)
        return right(self, iteration, lr)

    monkeypatch.setattr(Matcher, "step", wrong)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (sign, "pixel gradient differs"),
        (nan, "loss differs from that of the plain path by inf"),
        (capture, "the fast path raised RuntimeError: CUDA error: operation not permitted"),
        (stale, "pixel gradient differs"),
    ],
)
def test_a_fault_does_not_reach_the_pixels(pool, monkeypatch, accelerator, fault, said):
    expected = condense(pool, CONFIG.but(precision="float32"))
    self_check._known.clear()
    fault(monkeypatch)
    with pytest.warns(UserWarning, match=f"cpu runs the plain path.*{said}") as caught:
        condensed = condense(pool, CONFIG)
    assert len(caught) == 1
    assert torch.equal(condensed.images, expected.images)


def test_a_healthy_path_is_left_as_it_is(pool, accelerator, monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked = condense(pool, CONFIG)
    monkeypatch.setattr(Engine, "accelerated", False)
    assert torch.equal(checked.images, condense(pool, CONFIG).images)


@pytest.mark.parametrize("network", ["convnet", "convnet:norm=batch", "convnet:norm=none,pooling=max"])
@pytest.mark.parametrize("nested", [0.0, 0.05])
def test_bfloat16_stays_within_what_is_allowed(pool, network, nested):
    config = CondenseConfig.preset("paper", network=network, prefix_weight=nested)
    differences, wrong = self_check.compare(FAST, lambda engine: probe(engine, pool, config))
    assert wrong is None
    errors = differences["the fast path, the plain path"]
    assert 0 < errors["pixel gradient"] < errors["allowed"] / 2


def test_a_stream_is_checked_once(pool, accelerator, monkeypatch):
    calls = []
    monkeypatch.setattr("dm_replay.matching.engine.probe", lambda engine, **how: calls.append(engine) or {})
    for classes in ([2, 5], [9]):
        verified_engine(FAST, pool.subset(classes), CONFIG)
    assert len(calls) == 4
    verified_engine(FAST, pool, CondenseConfig.preset("paper", network="convnet:width=8"))
    assert len(calls) == 8


@pytest.mark.parametrize("labels", [[0, 1], [3]], ids=["one each", "one"])
def test_tiny_pools_can_be_checked(labels, generator):
    few = TensorPool(torch.rand(len(labels), 1, 8, 8, generator=generator), labels)
    assert self_check.compare(FAST, lambda engine: probe(engine, few, CONFIG))[1] is None


@pytest.mark.parametrize("at", ["first", "later"])
def test_a_lack_of_memory_in_mid_job_asks_for_fewer_images(pool, monkeypatch, at):
    config = CONFIG.but(precision="float32")
    expected, losses = condense(pool, config), []
    right = Matcher.gradient

    def hungry(self, *args):
        result = right(self, *args)
        if self.engine.chunk > 8 and (at == "first" or len(losses) == 3):
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return result

    monkeypatch.setattr(Matcher, "gradient", hungry)
    with pytest.warns(UserWarning, match="cpu has too little memory for 30 images at a time: it takes 7") as caught:
        condensed = condense(pool, config, on_step=lambda progress: losses.append(float(progress.loss)))
    assert len(caught) == 1 and len(losses) == 5
    torch.testing.assert_close(condensed.images, expected.images, rtol=1e-4, atol=1e-4)
    assert torch.equal(condensed.counts, expected.counts)


def test_a_lack_of_memory_that_stays_is_raised(pool, monkeypatch):
    def never(self, *args):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Matcher, "gradient", never)
    with pytest.raises(torch.OutOfMemoryError):
        condense(pool, CONFIG)


def test_a_failed_warm_up_leaves_the_pixels_alone(pool, accelerator, monkeypatch):
    """Calls before a capture move the pixels; whatever ends them, the next attempt starts where the last step ended."""
    condensed = condense(pool, CONFIG)

    def warm_up_only(function, device, generators):
        function()
        if warm_up_only.fails:
            warm_up_only.fails = False
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return function

    warm_up_only.fails = False
    self_check.verified_engine(FAST, lambda engine: {}, "nothing", 1)
    monkeypatch.setattr("dm_replay.matching.matcher.cuda_graphed", warm_up_only)
    monkeypatch.setattr("dm_replay.matching.prepared.verified_engine", lambda engine, *_: engine)
    warm_up_only.fails = True
    with pytest.warns(UserWarning, match="too little memory"):
        again = condense(pool, CONFIG)
    torch.testing.assert_close(again.images, condensed.images, rtol=1e-2, atol=1e-2)
