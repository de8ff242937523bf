"""Accuracy over iterations: how much of what condensing gives comes early.

    python benchmarks/iterations.py --methods dm --at 10 100 1000 10000 20000 --epochs 1000 --runs 5
    python benchmarks/iterations.py --quick                       # up to 100 iterations; minutes on two cores

Each method is condensed once, in the bytes of ``--ipc`` raw images a class, and its set kept at the iterations that are
asked for, in runs/iterations. ``fast`` and ``plus`` lower their rate over the whole run, so that their early sets are
not what a short run would give. Cells go to results/iterations.json after each network; a run that was stopped goes on
from its checkpoint.
"""

import argparse
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from common import add_evaluation, fill, networks, parsed, pyplot, save_figure, schedule_of, short_hash
from sets import CONDENSED, Budget, class_bytes, described, paper_lr

from dm_replay import CondenseConfig, CondensedSet, condense, load_dataset
from dm_replay.data.registry import Dataset
from dm_replay.runtime import hardware
from dm_replay.runtime.files import load_sealed, save_sealed
from dm_replay.runtime.stages import progress_bar

KEPT = Path(__file__).parent.parent / "runs" / "iterations"
SECONDS_BETWEEN_CHECKPOINTS = 60
COLORS = {"dm": "#d98c3f", "fast": "#2f6db3", "plus": "#7a3fb3"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=10, help="raw images a class, for the bytes")
    parser.add_argument("--methods", nargs="+", choices=[*CONDENSED], default=["dm", "fast"], metavar="METHOD")
    parser.add_argument("--at", type=int, nargs="+", default=[1, 10, 100, 1000], help="iterations; the last is the end")
    parser.add_argument("--quick", action="store_true", help="at 1, 10, 30 and 100 iterations, 300 steps, one network")
    add_evaluation(parser)
    options = parsed(parser, at=[1, 10, 30, 100], steps=300, runs=1)
    options.at = sorted(set(options.at))
    hardware.keep_memory()
    data = load_dataset(options.dataset)
    cells = {
        key_of(method, at, options): partial(measure, method, at, data, options)
        for method in options.methods
        for at in options.at
    }
    draw(fill("iterations", cells, options))


def key_of(method: str, at: int, options: argparse.Namespace) -> str:
    run = f"{method}, {at} of {options.at[-1]} iterations"
    return f"{options.dataset}, ipc {options.ipc}, {run}, {schedule_of(options)}"


def measure(method: str, at: int, data: Dataset, options: argparse.Namespace, cell: dict | None) -> Iterator[dict]:
    """The cell after each network that it lacks."""
    kept = CondensedSet.load(made(method, data, options)[at])
    about = described(kept, options.dataset, method, options.ipc, Budget(None, options.at[-1]), 0)
    for evaluation in networks(kept, data.test, options, "convnet", cell):
        yield about | {"network": "convnet", "iteration": at} | evaluation


def made(method: str, data: Dataset, options: argparse.Namespace) -> dict[int, Path]:
    """The files of a run's sets by iteration."""
    end = options.at[-1]
    settings = {"lr_img": paper_lr(options.dataset, options.ipc, "convnet")} if method == "dm" else {}
    size = class_bytes(data.train, options.ipc)
    config = CondenseConfig(preset=CONDENSED[method], bytes_per_class=size, iterations=end, **settings)
    name = f"{options.dataset}_{options.ipc}_{method}_{end}_{short_hash(config)}"
    files = {at: KEPT / f"{name}_{at}.pt" for at in options.at}
    if all(file.exists() for file in files.values()):
        return files
    KEPT.mkdir(parents=True, exist_ok=True)
    checkpoint = KEPT / f"{name}_checkpoint.pt"
    state = load_sealed(checkpoint) if checkpoint.exists() else None
    with progress_bar(f"condensing {method}", end) as bar:
        bar.update(state["iteration"] if state else 0)
        saved = time.monotonic()

        def keep(step) -> None:
            nonlocal saved
            bar.update()
            if step.iteration in files and step.iteration < end:
                step.as_set().save(files[step.iteration])
            if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                save_sealed(step.state, checkpoint)
                saved = time.monotonic()

        condense(data.train, config, on_step=keep, state=state).save(files[end])
    checkpoint.unlink(missing_ok=True)
    return files


def draw(results: dict) -> None:
    columns = list(dict.fromkeys((cell["dataset"], cell["ipc"]) for cell in results.values()))
    figure, row = pyplot().subplots(
        1, len(columns), figsize=(1 + 4 * len(columns), 3.4), layout="constrained", squeeze=False
    )
    for axes, (dataset, ipc) in zip(row[0], columns, strict=True):
        for method in dict.fromkeys(cell["method"] for cell in results.values()):
            own = [c for c in results.values() if (c["dataset"], c["ipc"], c["method"]) == (dataset, ipc, method)]
            own.sort(key=lambda cell: cell["iteration"])
            points = [cell["iteration"] for cell in own], [cell["mean"] for cell in own]
            axes.plot(*points, marker="o", markersize=4, label=method, color=COLORS[method])
        axes.set(xlabel="iterations", title=f"{dataset}, {ipc} a class", xscale="log")
    row[0][0].set_ylabel("test accuracy, %")
    row[0][0].legend(frameon=False, fontsize=8)
    save_figure(figure, "iterations")


if __name__ == "__main__":
    main()
