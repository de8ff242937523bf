"""Evaluating condensed sets with a progress bar, over all processes of a job."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import torch
from tqdm import tqdm

from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool
from ..evaluation.config import EvalConfig
from ..evaluation.evaluate import EvalReport, evaluate
from ..runtime.distributed import World, joined
from ..runtime.stages import progress_bar
from ..runtime.validation import whole_number

__all__ = ["evaluate_run"]


def evaluate_run(
    sets: Mapping[str, ImageSet],
    test_pool: TensorPool,
    config: EvalConfig | None = None,
    *,
    network: str = "convnet",
    runs: int = 5,
    seed: int = 0,
    first: int = 0,
    quiet: bool = False,
) -> dict[str, EvalReport]:
    """Measure several sets likewise, each as :func:`evaluate` does.

    Started several times by ``torchrun``, the processes share the runs out; run k is the same on whichever it falls.

    Args:
        sets: by the names that the progress bar shows.
        quiet: no progress bar.

    Returns:
        The reports of all runs by the names of the sets; on other processes than the first, of their share of the runs.

    Raises:
        ValueError: as :func:`evaluate`. RankLost: if another process of the job has died.
    """
    whole_number("runs", runs, 1)
    config = config or EvalConfig()
    measure = partial(evaluate, test_pool=test_pool, config=config, network=network, seed=seed)
    reports = {}
    with joined() as world:
        own = range(first, first + runs)[world.shard(runs)]
        quiet = quiet or not world.main
        for name, condensed in sets.items():
            epochs = len(own) * config.passes(condensed.decoded)
            with progress_bar(f"evaluating {name}", epochs, quiet=quiet, unit=" epochs") as bar:
                on_epoch = partial(_advance, bar)
                reports[name] = _united(partial(measure, condensed, on_epoch=on_epoch), own, world)
    return reports


def _united(measure: Callable[..., EvalReport], own: range, world: World) -> EvalReport:
    """The report of all runs on the first process; elsewhere of its own, which may be none."""
    started = time.perf_counter()
    report = measure(runs=len(own), first=own[0]) if own else EvalReport((), {}, 0.0)
    accuracies = world.gather(torch.tensor(report.accuracies, dtype=torch.float64)).tolist()
    settings = {**report.settings, "runs": len(accuracies)}
    return replace(report, accuracies=tuple(accuracies), settings=settings, seconds=time.perf_counter() - started)


def _advance(bar: tqdm, run: int, epoch: int) -> None:
    bar.update()
