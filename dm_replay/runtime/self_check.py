"""An accelerator's fast path is believed after it has given the plain path's numbers, and the plain path the CPU's.

Asked once per process and configuration, before the first iteration. What raises or disagrees is not used: the job runs
on the plain path (float32, no graph, nothing compiled), with one warning that says what differed and by how much.
Where losses agree and only what comes of them does not, rounding may be all there is to it (see :func:`verdict`).
Compiled functions are left out here, since each shape is compiled anew: they check themselves in their first call, see
:func:`dm_replay.runtime.acceleration.compiled`.
"""

import contextlib
import threading
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .acceleration import difference, failures_raised, tolerance
from .engine import Engine, is_out_of_memory, plain, within_memory

__all__ = ["Probe", "compare", "engine_record", "verified_engine", "verdict"]

# Runs a few steps of a job on an engine, the same ones at each call; gives what came of them by name: "loss" and more.
Probe = Callable[[Engine], dict[str, Tensor]]
Differences = dict[str, dict[str, float]]
# Two paths' names, their engines, and how far they may lie from each other.
Pair = tuple[str, str, tuple[Engine, Engine], float]

CPU = torch.device("cpu")
FAST, PLAIN, REFERENCE = "the fast path", "the plain path", "the CPU"
UNGRAPHED, EXACT = "the same without a graph", "the plain path in full float32"
ROUNDED_LOSS = 0.05  # of a loss; the H100's largest was 3.6 %
_known: dict[Hashable, Engine] = {}
_lock = threading.Lock()


class _Failed(Exception):
    """A path raised."""


def verified_engine(engine: Engine, probe: Probe, configuration: Hashable, images: int) -> Engine:
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


def verdict(engine: Engine, probe: Probe) -> tuple[Differences, str | None]:
    """As :func:`compare`, with a second look where rounding alone may be what differs.

    Deep networks with instance normalization over a few pixels multiply rounding: on an H100 the losses of AlexNet,
    VGG-11 and ResNet-18 agreed to 4 %, and their updates differed by 47 to 90 %, those of the plain path in TF32 by 28
    to 70 %. So where losses agree that well and nothing points elsewhere, two closer pairs decide: the fast path and
    the same work launched call by call, in one precision; and the plain path and the CPU, both in full float32.
    """
    found, wrong = compare(engine, probe)
    if wrong is None or len(found) < 2 or not all(map(_rounding_explains, found.values())):
        return found, wrong
    fast, slow, reference = _paths(engine)
    allowed = tolerance(torch.float32)
    pairs = [(FAST, UNGRAPHED, (fast, replace(fast, graphs=False)), allowed)]
    pairs += [(EXACT, REFERENCE, (replace(slow, draws=CPU), reference), allowed)]
    with _full_float32():
        closer, still = _compared(pairs, probe)
    return found | closer, still and f"{wrong}; {still}"


def _rounding_explains(errors: Mapping[str, float]) -> bool:
    """Whether losses agree and the rest has one direction: what is reversed differs by 2, what is unrelated by 1.4."""
    return errors["loss"] <= ROUNDED_LOSS and all(error < 1 for error in errors.values())


def compare(engine: Engine, probe: Probe) -> tuple[Differences, str | None]:
    """The relative differences between the paths, by pair and value; and what is wrong with them, None if nothing.

    With numbers from its own generators the fast path is held against the plain one, and with the CPU's the plain one
    against the CPU.
    """
    fast, slow, reference = _paths(engine)
    pairs = [(FAST, PLAIN, (fast, slow), tolerance(engine.dtype))]
    pairs += [(PLAIN, REFERENCE, (replace(slow, draws=CPU), reference), tolerance(torch.float32))]
    return _compared(pairs, probe)


def _paths(engine: Engine) -> tuple[Engine, Engine, Engine]:
    """The fast path, the plain one and the CPU's."""
    reference = Engine(CPU, torch.float32, False, engine.chunk, engine.gradient_chunk, CPU, graphs=False)
    return replace(engine, compiled=False), plain(engine), reference


def _compared(pairs: Sequence[Pair], probe: Probe) -> tuple[Differences, str | None]:
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


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """Inside, float32 products on a GPU keep all their digits."""
    kinds = torch.backends.cudnn.conv, torch.backends.cuda.matmul  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


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
        engine, (differences, reason) = within_memory(engine, images, lambda smaller: verdict(smaller, probe))
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
