"""Cost grows with the number of real images, and memory stays within its budget.

    DM_DATA=~/datasets python -m benchmarks.scaling
    DM_DATA=~/datasets python -m benchmarks.scaling --classes 2 4 --batches 8 --iterations 3 --turns 1 --compile no

Seconds per iteration over the number of classes of CIFAR-100 and over batch_real, medians of the turns. Linear cost is
a constant number of seconds for 1,000 real images. Peak memory is what an iteration takes beyond what was in use
before: of the device on CUDA, else of the process.
"""

import statistics
from pathlib import Path

import torch

from dm_replay import CondenseConfig, Machine, TensorPool, load_dataset
from dm_replay.runtime.settings import flat

from .cost_tables import scaling
from .results import append, markdown
from .timing import MACHINE, ON_GPU, options_of, paper_config, seconds_per_iteration


def main():
    parser = options_of(__doc__)
    parser.add_argument("--dataset", default="cifar100")
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument("--batches", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--memory-budget", type=float, default=Machine.memory_budget, help="GiB")
    options = parser.parse_args()
    pool = load_dataset(options.dataset).train
    most, largest = max(options.classes), max(options.batches)
    cases = [("classes", count, largest) for count in options.classes]
    cases += [("batch_real", most, batch) for batch in options.batches]
    for part, count, batch in cases:
        config = paper_config(options, batch_real=batch, memory_budget=options.memory_budget)
        row = {"machine": MACHINE, "part": part, "dataset": options.dataset, "ipc": options.ipc, "config": flat(config)}
        append("scaling", [row | measure(pool, config, count, options.turns)])
    print(markdown(scaling(MACHINE)))


def measure(pool: TensorPool, config: CondenseConfig, classes: int, turns: int) -> dict:
    """One row: some of the pool's classes."""
    chosen, before = pool.classes[:classes].tolist(), start_peak()
    warm_up, *times = (seconds_per_iteration(pool, config, chosen) for _ in range(turns + 1))
    return {
        "classes": classes,
        "batch_real": config.batch_real,
        "seconds": statistics.median(times),
        "seconds_per_1000_images": 1000 * statistics.median(times) / (classes * config.batch_real),
        "turns": times,
        "warm_up": warm_up,
        "peak_memory_gib": (peak() - before) / 2**30,
    }


def start_peak() -> int:
    """Begin to watch the memory; returns the bytes in use now."""
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """The most bytes in use since :func:`start_peak`."""
    return torch.cuda.max_memory_allocated() if ON_GPU else _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
