"""Cost grows with the number of real images, and memory stays within its budget.

    DM_DATA=~/datasets python -m benchmarks.scaling
    DM_DATA=~/datasets python -m benchmarks.scaling --classes 2 4 --batches 8 --iterations 3 --turns 1 --compile no

Seconds per iteration over the number of classes of CIFAR-100 and over batch_real, in turns, medians. Linear cost is a
constant number of seconds for 1,000 real images. Peak memory is what an iteration takes beyond what was in use before:
of the device on CUDA, else of the process.
"""

import argparse
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from dm_replay import CondenseConfig, Machine, TensorPool, condense, load_dataset
from dm_replay.runtime.plain import flat

from .cost_tables import scaling
from .results import append, markdown

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=50 if DEVICE.type == "cuda" else 4, help="in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--compile", choices=("yes", "no"), default="yes")
    parser.add_argument("--memory-budget", type=float, default=Machine.memory_budget, help="GiB")
    options = parser.parse_args()
    pool = load_dataset("cifar100").train
    config = CondenseConfig.preset(
        "paper",
        ipc=options.ipc,
        iterations=options.iterations + 1,
        compile=options.compile,
        memory_budget=options.memory_budget,
        device=DEVICE.type,
    )
    most, largest = max(options.classes), max(options.batches)
    cases = [("classes", count, largest) for count in options.classes]
    cases += [("batch_real", most, batch) for batch in options.batches]
    machine = {"cuda": "GPU", "cpu": "CPU"}[DEVICE.type]
    for part, *case in cases:
        row = {"machine": machine, "part": part, "dataset": "cifar100", "ipc": options.ipc}
        append("scaling", [row | measure(pool, config, *case, options.turns) | {"config": flat(config)}])
    print(markdown(scaling(machine)))


def measure(pool: TensorPool, config: CondenseConfig, classes: int, batch: int, turns: int) -> dict:
    """One row: some of the pool's classes with so many real images each."""
    config, chosen = replace(config, batch_real=batch), pool.classes[:classes].tolist()
    before = start_peak()
    warm_up = seconds_per_iteration(pool, config, chosen)
    times = [seconds_per_iteration(pool, config, chosen) for _ in range(turns)]
    images = classes * batch
    return {
        "classes": classes,
        "batch_real": batch,
        "seconds": statistics.median(times),
        "seconds_per_1000_images": 1000 * statistics.median(times) / images,
        "turns": times,
        "warm_up": warm_up,
        "peak_memory_gib": (peak() - before) / 2**30,
    }


def seconds_per_iteration(pool: TensorPool, config: CondenseConfig, classes: list[int] | None = None) -> float:
    """Mean over the iterations but the first."""
    times = []

    def note(step):
        if step.iteration in (1, step.iterations):
            wait()
            times.append(time.perf_counter())

    condense(pool, config, classes=classes, on_step=note)
    return (times[1] - times[0]) / (config.iterations - 1)


def start_peak() -> int:
    """Begin to watch the memory; returns the bytes in use now."""
    if DEVICE.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """The most bytes in use since :func:`start_peak`."""
    return torch.cuda.max_memory_allocated() if DEVICE.type == "cuda" else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
