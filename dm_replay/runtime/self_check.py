"""An accelerator's fast path is believed after it has given the plain path's numbers, and the plain path the CPU's.

Asked once per process and configuration, before the first iteration. What raises or disagrees is not used: the job runs
on the plain path (float32, no graph, nothing compiled), with one warning that says what differed and by how much.
Compiled functions are left out here, since each shape is compiled anew: they check themselves in their first call, see
:func:`dm_replay.runtime.engine.compiled`.
"""

import threading
import time
import warnings
from collections.abc import Callable, Hashable
from dataclasses import replace

import torch
from torch import Tensor

from .agreement import difference, tolerance
from .cuda_graphs import failures_raised
from .engine import Engine, plain
from .out_of_memory import is_out_of_memory
from .shrinking import within_memory

__all__ = ["Probe", "compare", "engine_record", "trusted"]

# Runs a few steps of a job on an engine, the same ones at each call, and gives what came of them by name.
Probe = Callable[[Engine], dict[str, Tensor]]

CPU = torch.device("cpu")
FAST, PLAIN, REFERENCE = "the fast path", "the plain path", "the CPU"
_known: dict[Hashable, Engine] = {}
_lock = threading.Lock()


class _Failed(Exception):
    """A path raised."""


def trusted(engine: Engine, probe: Probe, configuration: Hashable, images: int) -> Engine:
    """The engine, or the plain one if the check fails; the CPU needs no check. What was found is in its ``check``.

    Args:
        configuration: what decides the outcome beside the engine; the same is not checked twice.
        images: how many the probe has at a time, at most; with less memory it takes fewer.
    """
    if not engine.accelerated:
        return engine
    with _lock:
        key = (engine, configuration)
        if key not in _known:
            _known[key] = _checked(engine, probe, images)
        return _known[key]


def compare(engine: Engine, probe: Probe) -> tuple[dict[str, dict[str, float]], str | None]:
    """The relative differences between the paths, by pair and value; and what is wrong with them, None if nothing.

    With numbers from its own generators the fast path is held against the plain one, and with the CPU's the plain one
    against the CPU.
    """
    fast, slow = replace(engine, compiled=False), plain(engine)
    reference = Engine(CPU, torch.float32, False, engine.chunk, engine.gradient_chunk, CPU, graphs=False)
    pairs = (
        (FAST, PLAIN, (fast, slow), tolerance(engine.dtype)),
        (PLAIN, REFERENCE, (replace(slow, draws=CPU), reference), tolerance(torch.float32)),
    )
    found, wrong = {}, []
    for name, other, engines, allowed in pairs:
        try:
            got, expected = (_run(path, e, probe) for path, e in zip((name, other), engines, strict=True))
        except _Failed as failure:
            wrong.append(str(failure))
            continue
        errors = {value: difference(got[value], expected[value]) for value in expected}
        found[f"{name}, {other}"] = {**errors, "allowed": allowed}
        wrong += [
            f"{name}'s {value} differs from that of {other} by {error:.2g} of its size (allowed {allowed:g})"
            for value, error in errors.items()
            if not error <= allowed
        ]
    return found, "; ".join(wrong) or None


def engine_record(engine: Engine) -> dict:
    """An engine and what its check found, as plain data for a result file."""
    return {
        "device": str(engine.device),
        "dtype": str(engine.dtype).removeprefix("torch."),
        "compiled": engine.compiled,
        "graphs": engine.graphs and engine.device.type == "cuda",
        "chunk": engine.chunk,
        "self_check": engine.check or {"checked": False, "fallback": None},
    }


def _checked(engine: Engine, probe: Probe, images: int) -> Engine:
    started = time.perf_counter()
    try:
        engine, (differences, reason) = within_memory(engine, images, lambda smaller: compare(smaller, probe))
    except Exception as error:  # not even one image at a time
        differences, reason = {}, _named(error)
    if reason:
        engine = plain(engine)
        warnings.warn(
            f"{engine.device} runs the plain path, which is slower (float32, no graph, nothing compiled): {reason}",
            stacklevel=4,
        )
    seconds = round(time.perf_counter() - started, 3)
    return replace(engine, check={"checked": True, "fallback": reason, "differences": differences, "seconds": seconds})


def _run(path: str, engine: Engine, probe: Probe) -> dict[str, Tensor]:
    try:
        with failures_raised():
            return probe(engine)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise _Failed(f"{path} raised {_named(error)}") from error


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
