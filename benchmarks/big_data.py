"""A pool larger than memory costs little more than one in memory.

    python -m benchmarks.big_data                  # 16 GiB of noise at 64 px, the size of ImageNet-1K
    python -m benchmarks.big_data --gib 0.05 --classes 4 --batch 8 --iterations 4 --turns 1 --compile no

Seconds per iteration, in turns in one process: images in memory, in a file and read ahead by a thread, and in a file
and read when they are needed. Before each turn the system is told to forget the file's pages, so that they come from
the disk. The classes lie scattered over the file, which is the worst case.
"""

import gc
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dm_replay import TensorPool
from dm_replay.data.arrays import mapped_images
from dm_replay.runtime.settings import flat

from .cost_tables import big_data
from .results import append, markdown
from .timing import DEVICE, MACHINE, ON_GPU, options_of, paper_config, seconds_per_iteration

LIMIT = 1.25  # how much longer an iteration may take
IN_MEMORY = 2**30  # bytes of the pool in memory: enough, since its size does not matter


def main():
    parser = options_of(__doc__, iterations=20 if ON_GPU else 4)
    parser.add_argument("--gib", type=float, default=16.0, help="of the file")
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--classes", type=int, default=1000 if ON_GPU else 10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; a temporary one by default")
    options = parser.parse_args()
    config = paper_config(options, batch_real=options.batch)
    turns: list[dict] = []  # way -> (seconds, bytes read)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        file = Path(folder) / "images.npy"
        write_noise(file, options.gib, options.side)
        ways = pools(file, options.classes)
        for _ in range(options.turns + 1):
            turns.append({})
            for name, pool in ways.items():  # mapped anew, since pages are forgotten only while nobody maps them
                forget(file)
                before = bytes_read()
                turns[-1][name] = seconds_per_iteration(pool(), config), bytes_read() - before
    seconds, read = (pd.DataFrame([{name: t[name][k] for name in t} for t in turns[1:]]) for k in (0, 1))
    same = {"machine": MACHINE, "gib": options.gib, "side": options.side, "classes": options.classes, "limit": LIMIT}
    same |= {"ipc": options.ipc, "batch_real": options.batch, "config": flat(config)}
    ratios = seconds.div(seconds["in memory"], axis=0).median()
    medians = {"seconds": seconds.median(), "ratio": ratios, "bytes_read": read.median()}
    rows = [{name: float(values[way]) for name, values in medians.items()} | {"part": way} for way in seconds]
    append("big_data", [same | row | {"turns": list(seconds[row["part"]])} for row in rows])
    print(markdown(big_data(MACHINE)))


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
    images = mapped_images(file)
    labels, *norm = torch.arange(len(images)) % classes, (0.5,) * 3, (0.25,) * 3
    most = min(len(images), IN_MEMORY // images[0].numel())
    memory = TensorPool(images[:most].clone(), labels[:most], *norm).to(DEVICE)
    ways = {"in memory": lambda: memory, "read ahead": lambda: TensorPool.map(file, labels, *norm)}
    return ways if ON_GPU else {**ways, "when needed": lambda: TensorPool(mapped_images(file), labels, *norm)}


def forget(file: Path) -> None:
    """Ask the system to drop the file's pages from its cache."""
    gc.collect()
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_read() -> int:
    """By this process from disks, so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


if __name__ == "__main__":
    main()
