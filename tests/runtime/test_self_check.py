"""The check of an accelerator's fast path, with planted faults: here every engine counts as an accelerator."""

import warnings
from dataclasses import replace

import pytest
import torch

from dm_replay.runtime import self_check
from dm_replay.runtime.acceleration import difference
from dm_replay.runtime.engine import Engine, plain
from dm_replay.runtime.self_check import compare, engine_record, verified_engine

CPU = torch.device("cpu")
FAST = Engine(CPU, torch.bfloat16, True, chunk=64)
LOSS, GRADIENT = torch.tensor([3.0, 2.0]), torch.arange(1.0, 9.0)


@pytest.fixture(autouse=True)
def pretended(monkeypatch):
    monkeypatch.setattr(Engine, "accelerated", True)
    monkeypatch.setattr(self_check, "_known", {})


def is_fast(engine):
    return engine.graphs and engine.dtype == torch.bfloat16


def probe(fault=lambda: {}, where=is_fast, calls=None):
    """One whose fault is planted on some engines."""

    def run(engine):
        assert not engine.compiled  # compiled functions check themselves
        if calls is not None:
            calls.append(engine)
        rounding = 1.01 if engine.dtype == torch.bfloat16 else 1.0
        right = {"loss": rounding * LOSS, "pixel gradient": rounding * GRADIENT}
        return right | (fault() if where(engine) else {})

    return run


def raising(error):
    def fault():
        raise error

    return fault


def test_a_healthy_path_is_kept_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = verified_engine(FAST, probe(), "healthy", 24)
    assert kept == FAST
    assert kept.check["checked"] and kept.check["fallback"] is None
    assert kept.check["differences"]["the fast path, the plain path"]["loss"] == pytest.approx(0.01, rel=1e-4)
    assert kept.check["differences"]["the plain path, the CPU"]["pixel gradient"] == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda: {"pixel gradient": -GRADIENT}, "the fast path's pixel gradient differs .* by 2 of its size"),
        (lambda: {"pixel gradient": GRADIENT * (torch.arange(8) > 3)}, "pixel gradient differs"),
        (lambda: {"pixel gradient": torch.full((8,), float("nan"))}, "pixel gradient differs .* by inf"),
        (lambda: {"loss": LOSS[[0, 0]]}, "the fast path's loss differs"),
        (
            raising(RuntimeError("operation not permitted when stream is capturing\nmore")),
            "raised RuntimeError: operat",
        ),
        (raising(NotImplementedError()), "the fast path raised NotImplementedError"),
    ],
    ids=["sign", "part", "nan", "stale", "capture", "missing"],
)
def test_a_fault_leads_to_the_plain_path_with_one_warning(fault, said):
    with pytest.warns(UserWarning, match=f"runs the plain path, .*{said}") as caught:
        engine = verified_engine(FAST, probe(fault), said, 24)
    assert len(caught) == 1 and "\n" not in str(caught[0].message)
    assert engine == plain(FAST) and (engine.dtype, engine.compiled, engine.graphs) == (torch.float32, False, False)
    assert engine.check["checked"] and engine.check["fallback"] in str(caught[0].message)
    assert "the plain path, the CPU" in engine.check["differences"]


def test_rounding_that_a_network_multiplies_is_no_fault():
    """bfloat16 and TF32 give other gradients, with a graph or without, and nearly the same losses."""

    def multiplied(engine):
        tf32 = engine.device.type != "cpu" and torch.backends.cudnn.conv.fp32_precision != "ieee"
        other = GRADIENT.flip(0) if engine.dtype == torch.bfloat16 else GRADIENT.roll(3) if tf32 else GRADIENT
        return probe(lambda: {"pixel gradient": other}, lambda engine: True)(engine)

    before, elsewhere = torch.backends.cudnn.conv.fp32_precision, replace(FAST, device=torch.device("meta"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = verified_engine(elsewhere, multiplied, "multiplied", 24)
    assert kept == elsewhere and kept.check["fallback"] is None
    assert torch.backends.cudnn.conv.fp32_precision == before
    assert kept.check["differences"]["the fast path, the plain path"]["pixel gradient"] > 0.25
    assert kept.check["differences"]["the fast path, the same without a graph"]["pixel gradient"] == 0


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        (is_fast, {"pixel gradient": GRADIENT.flip(0)}),
        (lambda engine: engine.device.type != "cpu", {"pixel gradient": GRADIENT.flip(0)}),
        (lambda engine: engine.dtype == torch.bfloat16, {"pixel gradient": -GRADIENT}),
        (lambda engine: engine.dtype == torch.bfloat16, {"pixel gradient": GRADIENT.flip(0), "loss": 1.1 * LOSS}),
    ],
    ids=["only in the graph", "in full float32, too", "reversed in bfloat16", "beside another loss in bfloat16"],
)
def test_a_fault_is_not_taken_for_rounding(where, fault, request):
    elsewhere = replace(FAST, device=torch.device("meta"))
    with pytest.warns(UserWarning, match="runs the plain path"):
        assert verified_engine(elsewhere, probe(lambda: fault, where), request.node.name, 24) == plain(elsewhere)


def test_a_plain_path_that_differs_from_the_cpu_is_told():
    def is_plain_here(engine):
        return not engine.graphs and engine.device.type != "cpu"

    elsewhere = replace(FAST, device=torch.device("meta"))  # only its name is asked for
    wrong = probe(lambda: {"loss": 2 * LOSS}, is_plain_here)
    with pytest.warns(UserWarning, match="the plain path's loss differs from that of the CPU by 1 of its size"):
        assert verified_engine(elsewhere, wrong, "plain", 24) == plain(elsewhere)


def test_each_configuration_is_checked_once():
    calls = []
    first = verified_engine(FAST, probe(calls=calls), "one", 24)
    assert len(calls) == 4
    assert verified_engine(FAST, probe(calls=calls), "one", 24) is first and len(calls) == 4
    verified_engine(FAST, probe(calls=calls), "two", 24)
    verified_engine(replace(FAST, chunk=32), probe(calls=calls), "one", 24)
    assert len(calls) == 12


def test_the_warning_comes_once_as_well():
    wrong = probe(raising(RuntimeError("no")))
    with pytest.warns(UserWarning):
        verified_engine(FAST, wrong, "wrong", 24)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert verified_engine(FAST, wrong, "wrong", 24) == plain(FAST)


def test_a_lack_of_memory_is_no_fault_but_asks_for_less():
    def hungry(engine):
        if engine.chunk > 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return probe()(engine)

    with pytest.warns(UserWarning, match="cpu has too little memory for 24 images at a time: it takes 6") as caught:
        engine = verified_engine(FAST, hungry, "hungry", 24)
    assert len(caught) == 1
    assert (engine.chunk, engine.gradient_chunk) == (6, 6) and engine.check["fallback"] is None
    assert replace(engine, chunk=FAST.chunk, gradient_chunk=FAST.gradient_chunk) == FAST


def test_a_lack_of_memory_that_stays_leads_to_the_plain_path():
    never = probe(raising(torch.OutOfMemoryError("CUDA out of memory.")), lambda engine: True)
    with pytest.warns(UserWarning, match="runs the plain path.*out of memory"):
        assert verified_engine(FAST, never, "never", 24) == plain(FAST)


def test_the_cpu_needs_no_check(monkeypatch):
    monkeypatch.setattr(Engine, "accelerated", property(lambda engine: engine.device.type != "cpu"))
    calls = []
    assert verified_engine(FAST, probe(calls=calls), "cpu", 24) is FAST and not calls
    assert engine_record(FAST)["self_check"] == {"checked": False, "fallback": None}


def test_the_paths_are_compared_with_equal_numbers():
    """Fast and plain draw alike; against the CPU both draw on the CPU."""
    calls = []
    compare(replace(FAST, device=torch.device("meta")), probe(calls=calls))
    fast, slow, here, reference = calls
    assert fast.draws == slow.draws is None and here.draws == reference.draws == CPU
    assert [e.graphs for e in calls] == [True, False, False, False] and reference.device == CPU
    assert [e.dtype for e in calls] == [torch.bfloat16, torch.float32, torch.float32, torch.float32]


def test_differences_are_relative_and_honest():
    assert difference(torch.tensor([3.0, 4.4]), torch.tensor([3.0, 4.0])) == pytest.approx(0.08)
    assert difference(torch.zeros(2), torch.zeros(2)) == 0
    assert difference(torch.ones(2), torch.zeros(2)) > 1e9
    assert difference(torch.ones(2), torch.tensor([1.0, float("inf")])) == float("inf")
    assert difference(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 5])) == 0.25
