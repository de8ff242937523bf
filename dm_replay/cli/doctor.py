"""What this machine is to the library: a report to paste where somebody is to help."""

import functools
import json
import platform
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch

from ..data.pool import TensorPool
from ..evaluation.recipe import EvalConfig
from ..evaluation.trainer import probe as training_probe
from ..matching import engine as matching_check
from ..matching.condense import Progress, condense
from ..matching.config import CondenseConfig
from ..networks import build_network
from ..runtime import hardware
from ..runtime.engine import Engine, choose, resolve_device
from ..runtime.hardware import measure_limits, provenance, synchronize, work_of
from ..runtime.self_check import engine_record, verdict

__all__ = ["examine", "run_doctor"]

NETWORK, SHAPE, CLASSES = "convnet", (3, 32, 32), 10  # the engine is asked for the paper's CIFAR-10
# Measured on a sixth of that step, uncompiled: on two slow cores a second, where compiling would take half a minute.
FEW_CLASSES, FEW_IMAGES, STEPS = 5, 80, 4


def run_doctor(device: str = "auto", as_json: bool = False) -> None:
    """Print versions, devices, what the engine chooses and why, its self-check, and a few steps beside the limits."""
    report = examine(device)
    print(json.dumps(report, indent=2) if as_json else _as_text(report))


def examine(device: str = "auto") -> dict:
    """The report as plain data. A part that fails says so, the others are there nevertheless.

    Raises:
        ValueError: if there is no such device.
    """
    where = resolve_device(device)
    config = CondenseConfig.preset("paper", device=device).resolve(True).fit(SHAPE)
    images = config.iterations * CLASSES * (config.batch_real + config.ipc)
    engine = choose(device, "auto", "auto", SHAPE[1:], images, config.machine.memory_budget)
    pool = _noise()
    shown, labels = pool.take(torch.arange(len(pool))), pool.labels
    settings: dict[str, Any] = dict(network=NETWORK, classes=FEW_CLASSES, config=EvalConfig().resolve(True))
    training = functools.partial(training_probe, images=shown, labels=labels, **settings)
    condensation = functools.partial(matching_check.probe, pool=pool, config=config)
    return {
        **_software(where),
        "cpu": _processor(),
        "devices": _part(_devices),
        "engine": {**engine_record(engine), "reasons": engine.reasons},
        "self_check": {
            "condensation": _part(lambda: _check(engine, condensation)),
            "evaluation": _part(lambda: _check(engine, training)),
        },
        "measured": _part(lambda: _measure(where, pool)),
    }


def _part(examined: Callable[[], dict]) -> dict:
    try:
        return examined()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"}


def _software(device: torch.device) -> dict:
    origin = provenance(device)
    avalanche = next((found.version for found in metadata.distributions(name="avalanche-lib")), "missing")
    versions = {**origin["versions"], "avalanche-lib": avalanche}
    return {"versions": versions, "commit": origin["commit"], "system": platform.platform()}


def _processor() -> dict:
    return {
        "model": hardware.cpu_model(),
        "threads": torch.get_num_threads(),
        "instruction_sets": hardware.instruction_sets(),
        "used_by_torch": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": hardware.has_bfloat16(),
        "compiler": hardware.compiler() or "missing",
    }


def _devices() -> dict[str, str]:
    found = {}
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        memory, capability = about.total_memory / 2**30, f"{about.major}.{about.minor}"
        found[f"cuda:{number}"] = f"{about.name}, {memory:.0f} GiB, compute capability {capability}"
    if torch.backends.mps.is_available():
        found["mps"] = "Apple GPU; never tried"
    return found


def _noise() -> TensorPool:
    labels = torch.arange(FEW_CLASSES).repeat_interleave(FEW_IMAGES)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (len(labels), *SHAPE), dtype=torch.uint8, generator=generator)
    return TensorPool(images, labels, (0.5,) * 3, (0.25,) * 3)


def _check(engine: Engine, probe: Callable[[Engine], dict[str, torch.Tensor]]) -> dict:
    """As before a job on an accelerator; here on the CPU as well."""
    started = time.perf_counter()
    differences, wrong = verdict(engine, probe)
    return {"wrong": wrong, "differences": differences, "seconds": round(time.perf_counter() - started, 2)}


def _measure(device: torch.device, pool: TensorPool) -> dict:
    """Seconds of an uncompiled step on noise, and the least that its products or its memory traffic would take."""
    times: list[float] = []
    engines: list[Engine] = []

    def note(progress: Progress) -> None:
        synchronize(device)
        times.append(time.perf_counter())
        engines.append(progress.engine)

    about: dict[str, Any] = dict(ipc=1, iterations=STEPS, batch_real=FEW_IMAGES)
    config = CondenseConfig.preset("paper", **about, device=str(device), compile="no")
    with warnings.catch_warnings():  # what they would say of the engine is in the report
        warnings.simplefilter("ignore")
        condense(pool, config, on_step=note)
    engine = engines[-1]
    limits = measure_limits(device, engine.dtype, repeats=5)
    embedded = FEW_CLASSES * (FEW_IMAGES + 3)  # the synthetic image is taken forward once and back twice
    work = work_of(build_network(NETWORK, SHAPE, 1), SHAPE, embedded, engine.dtype.itemsize)
    return {
        "limits": str(limits),
        "images": FEW_CLASSES * FEW_IMAGES,
        "engine": engine_record(engine),
        "seconds": min(later - sooner for sooner, later in zip(times, times[1:], strict=False)),
        "floor": limits.seconds(work),
    }


def _as_text(report: dict) -> str:
    processor, engine, measured = report["cpu"], report["engine"], report["measured"]
    software = [f"{name} {version}" for name, version in report["versions"].items()]
    lines = [
        ("versions", ", ".join(software)),
        ("commit", report["commit"] or "not a checkout"),
        ("system", report["system"]),
        ("cpu", f"{processor['model']}, {processor['threads']} threads"),
        ("", f"{' '.join(processor['instruction_sets']) or 'unknown'}; torch uses {processor['used_by_torch']}"),
        ("compiler", processor["compiler"]),
        *(("devices", f"{name}: {about}") for name, about in report["devices"].items() or [("cpu", "nothing else")]),
        ("", ""),
        ("engine", f"for CIFAR-10, {CLASSES} classes, as the paper condenses it:"),
        *(("", f"{name} {engine[name]}: {why}") for name, why in engine["reasons"].items()),
        ("", ""),
        *(("self-check", f"{name}: {_verdict(found)}") for name, found in report["self_check"].items()),
        ("", ""),
        *(("measured", line) for line in _measurements(measured)),
    ]
    return "\n".join(f"{name:<12}{text}".rstrip() for name, text in lines)


def _verdict(found: dict) -> str:
    if "error" in found or found["wrong"]:
        return found.get("error") or found["wrong"]
    pairs = []
    for pair, values in found["differences"].items():
        errors = [f"{name} {error:.2%}" for name, error in values.items() if name != "allowed"]
        pairs.append(f"{pair.replace(', ', ' and ')} differ by {', '.join(errors)} (allowed {values['allowed']:.0%})")
    return f"passed in {found['seconds']} s; {'; '.join(pairs)}"


def _measurements(measured: dict) -> list[str]:
    if "error" in measured:
        return [measured["error"]]
    seconds, floor = measured["seconds"], measured["floor"]
    return [
        measured["limits"],
        f"{seconds:.3g} s for an uncompiled step on {measured['images']} images of 32x32 in "
        f"{measured['engine']['dtype']}; these limits would allow {floor:.2g} s ({floor / seconds:.0%})",
    ]
