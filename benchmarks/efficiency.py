"""Accuracy over seconds of condensing: what settings make of the same time and the bytes of ten raw images a class.

    python benchmarks/efficiency.py --seconds 180 --cells fast paper
    python benchmarks/efficiency.py --seconds 180 --cells fast --epochs 1000 --runs 3

Each cell is condensed once, bounded by seconds with all preparations counted, evaluated with fresh networks, and
written to results/efficiency.json as it is done; a cell that is there is not run again. The evaluation has a budget of
steps, equal for all cells, or of epochs. ``shrunk`` and ``random`` keep real images in the same bytes. The plot is
results/efficiency.png.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial

import torch
from common import add_evaluation, fill, networks, pyplot, read_results, save_figure, schedule_of

from dm_replay import CondenseConfig, CondensedSet, condense, load_dataset
from dm_replay.condensed.quantize import stored_bytes
from dm_replay.coresets.config import ExemplarConfig
from dm_replay.coresets.random import random_exemplars
from dm_replay.runtime import hardware

CONDENSED = {
    "paper": dict(preset="paper"),
    "fast, whole images": dict(preset="fast", formation=1, color=1, storage="uint8"),
    "fast, mosaics of 8 bits": dict(preset="fast", color=1, storage="uint8"),
    "fast": dict(preset="fast"),
    "plus": dict(preset="plus"),
}
REAL = {"random": 1, "shrunk 2": 2, "shrunk 4": 4}
COLORS = {"paper": "#9a9a9a", "fast, whole images": "#3fa38c", "fast, mosaics of 8 bits": "#6fa3d8"}
COLORS |= {"fast": "#1f4f93", "plus": "#7a3fb3"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=[*CONDENSED, *REAL], default=["shrunk 2", "paper", "fast"])
    parser.add_argument("--seconds", type=float, nargs="+", default=[180.0], help="of condensing")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=10, help="stored images a class")
    add_evaluation(parser)
    options = parser.parse_args()
    hardware.keep_memory()
    data = load_dataset(options.dataset)
    cells = {
        key_of(name, seconds, options): partial(measure, name, seconds, data, options)
        for name in options.cells
        for seconds in (options.seconds if name in CONDENSED else [0.0])
    }
    fill("efficiency", cells, options)
    draw(read_results("efficiency"))


def key_of(name: str, seconds: float, options: argparse.Namespace) -> str:
    schedule = schedule_of(options)
    return f"{options.dataset}, ipc {options.ipc}, {name}, {seconds:g} s, {schedule}"


def measure(name: str, seconds: float, data, options: argparse.Namespace, cell: dict | None) -> Iterator[dict]:
    condensed, about = made(name, seconds, data, options)
    about |= {
        "cell": name,
        "seconds_allowed": seconds,
        "dataset": options.dataset,
        "ipc": options.ipc,
        "bytes": condensed.nbytes,
        "training_images": condensed.decoded,
    }
    for evaluation in networks(condensed, data.test, options, "convnet", None):  # all on the set just made
        yield about | evaluation


def made(name: str, seconds: float, data, options: argparse.Namespace) -> tuple[CondensedSet, dict]:
    """The set of a cell, and what making it took."""
    if name in REAL:
        return random_exemplars(data.train, ExemplarConfig(options.ipc, formation=REAL[name])), {"seconds": 0.0}
    steps = []
    started = time.perf_counter()
    allowed = options.ipc * stored_bytes(data.train.shape, "uint8")
    config = CondenseConfig(bytes_per_class=allowed, seconds=seconds, **CONDENSED[name])
    condensed = condense(data.train, config, on_step=lambda step: steps.append(step.iteration))
    decoded = condensed.decoded // len(condensed.classes)
    each = config.batch_real + config.updates * min(config.batch_syn or decoded, decoded)
    return condensed, {
        "seconds": time.perf_counter() - started,
        "updates": len(steps) * config.updates,
        "images_per_class": len(steps) * each,
        "config": condensed.meta["config"],
    }


def draw(results: dict) -> None:
    figure, axes = pyplot().subplots(figsize=(6.4, 3.8), layout="constrained")
    cells = sorted({result["cell"] for result in results.values()}, key=[*REAL, *CONDENSED].index)
    longest = max(result["seconds"] for result in results.values()) or 1.0
    for cell in cells:
        of_cell = sorted((r for r in results.values() if r["cell"] == cell), key=lambda r: r["seconds"])
        if cell in REAL:
            best = max(of_cell, key=lambda r: r["mean"])
            axes.axhline(best["mean"], color="#d98c3f", linestyle=":", linewidth=1)
            axes.annotate(cell, (longest, best["mean"]), va="bottom", ha="right", fontsize=8, color="#a86a2a")
        else:
            for schedule, marker in {"steps": "o", "epochs": "D"}.items():
                own = [r for r in of_cell if (r["evaluation"]["steps"] is None) == (schedule == "epochs")]
                points = [r["seconds"] for r in own], [r["mean"] for r in own]
                if own:
                    budget = f"{own[0]['evaluation'][schedule]} {schedule}"
                    axes.plot(*points, marker, label=f"{cell}, {budget}", color=COLORS.get(cell), linestyle="none")
    axes.set(xlabel="seconds of condensing", ylabel="test accuracy, %", xscale="log")
    ticks = sorted({r["seconds_allowed"] for r in results.values() if r["seconds_allowed"]})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=8)
    save_figure(figure, "efficiency")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
