"""What the engine chooses on which machine, and why."""

import pytest
import torch

from dm_replay.runtime import engine, hardware
from dm_replay.runtime.engine import choose

LONG = 20_000 * 10 * 266  # images of the paper's CIFAR-10
SHORT = 10_000


@pytest.fixture
def cores(monkeypatch):
    """``cores(bfloat16)`` makes the CPU one with or without bfloat16 instructions."""
    monkeypatch.setattr(hardware, "compiler", lambda: "g++")
    return lambda bfloat16: monkeypatch.setattr(hardware, "has_bfloat16", lambda: bfloat16)


def test_cores_with_bfloat16(cores):
    cores(True)
    long, short = (choose("cpu", "auto", "auto", (32, 32), images) for images in (LONG, SHORT))
    assert (long.dtype, long.compiled, long.chunk) == (torch.bfloat16, True, 64)
    assert (short.dtype, short.compiled, short.chunk) == (torch.float32, False, 64)
    assert choose("cpu", "auto", "no", (8, 8), LONG).chunk == 1024


def test_cores_without(cores):
    cores(False)
    long, short = (choose("cpu", "auto", "auto", (32, 32), images) for images in (LONG, SHORT))
    assert (long.dtype, long.compiled, long.chunk) == (torch.float32, True, 32)
    assert (short.dtype, short.compiled, short.chunk) == (torch.float32, False, 8)
    assert choose("cpu", "auto", "no", (8, 8), LONG).chunk == 64
    assert choose("cpu", "auto", "no", (224, 224), LONG).chunk == 1
    assert choose("cpu", "bfloat16", "no", (32, 32), LONG).dtype == torch.bfloat16


def test_small_jobs_are_not_compiled(cores):
    """The demo's experiences (8x8), and one of two classes at the plugin's 200 iterations of 32x32 are about even."""
    cores(False)
    assert not choose("cpu", "auto", "auto", (8, 8), 300 * 2 * 266).compiled
    assert not choose("cpu", "auto", "auto", (32, 32), 100 * 2 * 266).compiled
    assert choose("cpu", "auto", "auto", (32, 32), 200 * 10 * 266).compiled


def test_without_a_compiler_nothing_is_compiled_unasked(cores, monkeypatch):
    cores(True)
    monkeypatch.setattr(hardware, "compiler", lambda: None)
    chosen = choose("cpu", "auto", "auto", (32, 32), LONG)
    assert not chosen.compiled and chosen.reasons["compiled"].startswith("no C++ compiler")
    assert choose("cpu", "auto", "yes", (32, 32), LONG).compiled


@pytest.mark.parametrize("bfloat16", [True, False])
@pytest.mark.parametrize("images", [SHORT, LONG])
def test_every_choice_has_its_reason(cores, bfloat16, images):
    cores(bfloat16)
    why = choose("cpu", "auto", "auto", (32, 32), images, 4.0).reasons
    assert list(why) == ["device", "dtype", "compiled", "chunk"] and all(why.values())
    assert ("no bfloat16" in why["dtype"]) == (not bfloat16)
    assert "memory budget of 0.001 GiB" in choose("cpu", "auto", "no", (32, 32), 1, 0.001).reasons["chunk"]
    asked = choose("cpu", "float32", "no", (32, 32), images).reasons
    assert asked["device"] == asked["dtype"] == asked["compiled"] == "as asked for"


def test_capping_pytorchs_instructions_caps_the_choice(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    for capability, expected in (("AVX512", True), ("AVX2", False), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda capability=capability: capability)
        hardware.has_bfloat16.cache_clear()
        assert hardware.has_bfloat16() == expected
    hardware.has_bfloat16.cache_clear()


def test_what_is_known_of_a_processor():
    assert hardware.cpu_model() and set(hardware.instruction_sets()) <= set(hardware.SETS)


def test_budgets_bound_every_kind_of_core(cores):
    for bfloat16 in (True, False):
        cores(bfloat16)
        for budget in (1e-6, 0.004, 4.0):
            chunk = choose("cpu", "float32", "no", (32, 32), 1, budget).chunk
            assert chunk * engine.USUAL[0] * 1024 * 4 <= budget * engine.GIB or chunk == 1
