"""A pool larger than memory costs little more than one in memory.

    python -m benchmarks.big_data                  # 16 GiB of noise at 64 px, the size of ImageNet-1K
    python -m benchmarks.big_data --gib 0.05 --classes 4 --batch 8 --iterations 4 --turns 1 --compile no

Seconds per iteration, in turns in one process: images in memory, in a file and read ahead by a thread, and in a file
and read when they are needed. Before each turn the system is told to forget the file's pages, so that they come from
the disk. The classes lie scattered over the file, which is the worst case.
"""

import argparse
import gc
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from dm_replay import CondenseConfig, TensorPool
from dm_replay.data.arrays import mapped_images
from dm_replay.runtime.plain import flat

from .cost_tables import big_data
from .results import append, markdown
from .scaling import DEVICE, seconds_per_iteration

LIMIT = 1.25  # how much longer an iteration may take
IN_MEMORY = 2**30  # bytes of the pool in memory: enough, since its size does not matter


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=16.0, help="of the file")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--classes", type=int, default=1000 if DEVICE.type == "cuda" else 10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=20 if DEVICE.type == "cuda" else 4, help="in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--compile", choices=("yes", "no"), default="yes")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one by default")
    options = parser.parse_args()
    config = CondenseConfig.preset(
        "paper",
        ipc=options.ipc,
        iterations=options.iterations + 1,
        batch_real=options.batch,
        compile=options.compile,
        device=DEVICE.type,
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "images.npy"
        write_noise(file, options.gib, options.side)
        turns = measure(pools(file, options.classes), file, config, options.turns)
    machine = {"cuda": "GPU", "cpu": "CPU"}[DEVICE.type]
    same = {"machine": machine, "gib": options.gib, "side": options.side, "classes": options.classes}
    same |= {"ipc": options.ipc, "batch_real": options.batch, "limit": LIMIT, "config": flat(config)}
    append("big_data", [{**same, **row} for row in summary(turns)])
    print(markdown(big_data(machine)))


def write_noise(file: Path, gib: float, side: int) -> None:
    """Images (N, 3, side, side) of so many GiB, and to the disk with them."""
    count = int(gib * 2**30) // (3 * side * side)
    images = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 3, side, side))
    generator = np.random.default_rng(0)
    for start in range(0, count, 10_000):
        part = images[start : start + 10_000]
        part[:] = generator.integers(0, 256, part.shape, dtype=np.uint8)
    images.flush()


def pools(file: Path, classes: int) -> dict[str, Callable[[], TensorPool]]:
    """The same kind of images on the device, in the file, and (on the CPU) in the file without reading ahead."""
    count = len(np.load(file, mmap_mode="r"))
    labels, *norm = torch.arange(count) % classes, (0.5,) * 3, (0.25,) * 3
    images = mapped_images(file)
    most = min(count, IN_MEMORY // images[0].numel())
    memory = TensorPool(images[:most].clone(), labels[:most], *norm).to(DEVICE)
    ways = {
        "in memory": lambda: memory,
        "read ahead": lambda: TensorPool.map(file, labels, *norm),
        "when needed": lambda: TensorPool(mapped_images(file), labels, *norm),
    }
    return ways if DEVICE.type == "cpu" else dict(list(ways.items())[:2])


def measure(
    pools: dict[str, Callable[[], TensorPool]], file: Path, config: CondenseConfig, turns: int
) -> list[dict[str, tuple[float, int]]]:
    """Seconds per iteration and bytes read from the disk of each way, by turns; the first turn, which compiles, left
    out. A file's pages can be forgotten only while nobody maps them, so each turn maps it anew."""
    results = []
    for _ in range(turns + 1):
        results.append({})
        for name, pool in pools.items():
            forget(file)
            before = bytes_read()
            results[-1][name] = seconds_per_iteration(pool(), config), bytes_read() - before
    return results[1:]


def forget(file: Path) -> None:
    """Ask the system to drop the file's pages from its cache."""
    gc.collect()
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_read() -> int:
    """By this process from disks, so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def summary(turns: list[dict[str, tuple[float, int]]]) -> list[dict]:
    """Medians over the turns, of the seconds and of their ratio to the pool in memory."""
    return [
        {
            "part": name,
            "seconds": statistics.median(turn[name][0] for turn in turns),
            "ratio": statistics.median(turn[name][0] / turn["in memory"][0] for turn in turns),
            "bytes_read": statistics.median(turn[name][1] for turn in turns),
            "turns": [turn[name][0] for turn in turns],
        }
        for name in turns[0]
    ]


if __name__ == "__main__":
    main()
