"""Networks trained on a set alone: every table of which a cell is a set, a network and a schedule.

    python -m benchmarks.networks offline --dataset cifar10 --ipc 1 10 50 --iterations 20000 --epochs 1000 --runs 20
    python -m benchmarks.networks equal_bytes --ipc 1 --network resnet18:width=20
    python -m benchmarks.networks continual --quick

Each grid has axes, which are columns of its results and options of the command (``GRID --help``). Its cells are all
combinations. All sets take the bytes of ``--ipc`` raw images a class; a method is REDUCER/CODEC, as sets.py has them.
Networks are fresh and trained for ``--steps`` of 256 images, or ``--epochs`` (the paper's schedule takes 1000). Rows go
to results/GRID.jsonl after each network, and none is trained again; condensed sets are kept in runs/sets, and a run
that was stopped goes on.
"""

import functools
from collections.abc import Iterator, Sequence

import torch

from dm_replay import EvalConfig, evaluate, load_dataset
from dm_replay.data.registry import Dataset
from dm_replay.runtime.engine import resolve_device
from dm_replay.runtime.stages import progress_bar

from .grids import GRIDS, SCHEDULE
from .network_pictures import DRAWN
from .network_tables import TABLES
from .runner import run
from .sets import described, in_steps, made

__all__ = ["main"]

OF_ROW = ("network", "runs", "seed", "first")  # settings of an evaluation that are columns of their own


def main(argv: Sequence[str] | None = None) -> None:
    run(GRIDS, __doc__, measured, TABLES, DRAWN, argv)


def measured(cell: dict, first: int, runs: int) -> Iterator[list[dict]]:
    """The rows of a cell's networks from one number to another; a GPU trains them together."""
    data = _loaded(cell["dataset"])
    kept, test, about = made(cell, data), data.test, {}
    if "order" in cell:
        seen = torch.cat(in_steps(data, cell["steps_of_classes"], cell["order"])[: cell["step"]])
        test, about = test.subset(seen), {"classes": len(seen)}
    config = EvalConfig(**{name: cell[name] for name in SCHEDULE if cell[name]})
    how = dict(network=cell["network"], seed=cell["seed"], head=len(data.train.classes))
    at_once = runs if resolve_device("auto").type == "cuda" else 1
    for begin in range(first, runs, at_once):
        count = min(at_once, runs - begin)
        with progress_bar(
            f"network {begin + count} of {runs}", count * config.passes(kept.decoded), unit=" epochs"
        ) as bar:
            tick = lambda run, epoch, bar=bar: bar.update()  # noqa: E731
            report = evaluate(kept, test, config, runs=count, first=begin, on_epoch=tick, **how)
        settings = {key: value for key, value in report.settings.items() if key not in OF_ROW}
        same = {**cell, **about, **described(kept), "evaluation": settings, "seconds": report.seconds / count}
        yield [same | {"run": begin + k, "accuracy": accuracy} for k, accuracy in enumerate(report.accuracies)]


@functools.cache
def _loaded(name: str) -> Dataset:
    return load_dataset(name)


if __name__ == "__main__":
    main()
