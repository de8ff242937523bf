"""Jobs over all processes: condensing in a folder, so that a stopped run can go on, and evaluating sets."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool
from ..data.registry import Dataset
from ..evaluation.evaluate import EvalReport, evaluate
from ..evaluation.recipe import EvalConfig
from ..matching.condense import condense
from ..matching.config import CondenseConfig
from ..runtime.distributed import Peers, World, joined, world
from ..runtime.files import check_free, locked
from ..runtime.settings import flat, whole_number
from ..runtime.stages import Interrupts, progress_bar, watched_by
from .recorder import LossLog, RunRecorder, united
from .run_folder import RunFolder

__all__ = ["SNAPSHOTS", "check_out", "condense_run", "evaluate_run"]

SNAPSHOTS = 10


def condense_run(
    out: str | Path,
    dataset: Dataset,
    config: CondenseConfig | None = None,
    *,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    snapshots: int | None = None,
    checkpoint_seconds: float = 60.0,
    quiet: bool = False,
) -> ImageSet:
    """Condense a dataset's training images in the folder ``out``, as :class:`RunFolder` describes it.

    The folder is locked meanwhile, and nothing else is written before the first iteration has gone well. Started
    several times by ``torchrun``, each process condenses its shard of the classes, the first one alone writes and
    shows, and the files, checkpoints too, are those of a single process; so a stopped run can go on with any number of
    them.

    Args:
        seed: of everything random.
        resume: go on from the checkpoint in ``out``, to the same pixels as an uninterrupted run; begin where
            there is none, and return the result where the run is finished.
        overwrite: begin anew where ``out`` holds a run.
        snapshots: pictures to write on the way, beside one after the first iteration; 0 for none. By default 10, or
            what a resumed run was begun with.
        checkpoint_seconds: seconds between checkpoints; Ctrl-C writes one, too.
        quiet: no progress bar.

    Returns:
        The condensed set; on other processes than the first, their shard of it.

    Raises:
        Interrupted: after Ctrl-C, when the checkpoint is written.
        RankLost: if another process of the run has died. The run can go on from its last checkpoint.
        ValueError: if settings, data or what ``out`` holds are unfit, or another process is at work there.
    """
    config = (config or CondenseConfig()).resolve(dataset.train.flip_invariant).fit(dataset.train.shape)
    folder = RunFolder(Path(out))
    check_out(folder, resume, overwrite)
    if not checkpoint_seconds >= 0:
        raise ValueError(f"checkpoint_seconds must be at least 0, got {checkpoint_seconds}")
    settings = settings_of(dataset, config, seed)
    with joined() as world, _locked(folder, world):
        if config.limit is not None and world.size > 1:
            raise ValueError("seconds and patience bound a single process, since clocks differ: give iterations")
        checkpoint = None if overwrite else checkpoint_to_resume(folder, settings, resume)
        if resume and folder.finished:
            return ImageSet.load(folder.condensed)
        settings["snapshots"] = snapshots_to_take(snapshots, folder, resume)
        shard = world.shard(settings["classes"])
        loss_log = LossLog(checkpoint and checkpoint["loss_log"], quiet or not world.main)
        with Interrupts(world.size > 1) as signals, loss_log, watched_by(loss_log.bar):
            recorder = RunRecorder(folder, settings, loss_log, signals, world, checkpoint_seconds, checkpoint is None)
            state = checkpoint and _part(checkpoint["state"], shard)
            about: dict[str, Any] = dict(seed=seed, on_step=recorder, state=state, shard=shard, peers=Peers(world))
            condensed = condense(dataset.train, config, **about)
            condensed = united(condensed, world).with_meta(dataset=dataset.spec.name)
            recorder.finish(condensed)
    return condensed


@contextlib.contextmanager
def _locked(folder: RunFolder, world: World) -> Iterator[None]:
    """The first process holds the folder for all; ValueError in each if it cannot."""
    with contextlib.ExitStack() as held:
        refused: Exception | None = None
        try:
            if world.main:
                held.enter_context(locked(folder.path))
        except (ValueError, OSError) as error:
            refused = error
        if any(world.all_reduce_max(refused is not None)):
            raise refused or ValueError(f"the first process cannot work in {folder.path}")
        yield


def _part(state: dict[str, Tensor | int], shard: slice) -> dict[str, Tensor | int]:
    """A shard of the classes of a :attr:`Progress.state`."""
    return {name: value[shard] if isinstance(value, Tensor) else value for name, value in state.items()}


def check_out(folder: RunFolder, resume: bool, overwrite: bool) -> None:
    """ValueError unless a run may begin in the folder, or go on there if ``resume``; before data is read for it."""
    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    folder.check_writable()
    if world().size == 1:  # of several processes one may hold it already
        check_free(folder.path)
    folder.check_record()
    _check_begun(folder, resume or overwrite)


def _check_begun(folder: RunFolder, allowed: bool) -> None:
    if folder.begun and not allowed:
        kind = "a finished run" if folder.finished else "an unfinished run"
        raise ValueError(f"{folder.path} holds {kind}; go on with --resume or begin anew with --overwrite")


def settings_of(dataset: Dataset, config: CondenseConfig, seed: int) -> dict:
    """What decides the pixels, as plain data."""
    pool = dataset.train
    data = {"real_images": len(pool), "classes": len(pool.classes), "image_shape": list(pool.shape)}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in flat(config).items()}
    return {"dataset": dataset.spec.name, **data, "seed": seed, **plain}


def snapshots_to_take(given: int | None, folder: RunFolder, resume: bool) -> int:
    """What was asked for, else what a resumed run was begun with."""
    begun_with = folder.begun_with() if resume and given is None else {}
    return whole_number("snapshots", begun_with.get("snapshots", SNAPSHOTS) if given is None else given, 0)


def checkpoint_to_resume(folder: RunFolder, settings: dict, resume: bool) -> dict | None:
    """The checkpoint to go on from, None where there is none; ValueError unless it is of the same run."""
    if not folder.begun:
        return None
    _check_begun(folder, resume)
    checkpoint = folder.read_checkpoint()
    begun_with = (checkpoint or folder.read_record()).get("settings", {})
    if not begun_with:
        raise ValueError(f"{folder.record} is missing, which says how the run was made; begin anew with --overwrite")
    for name, value in settings.items():
        if begun_with.get(name) != value:
            raise ValueError(
                f"cannot resume {folder.path} with {name} {value}: it was begun with {begun_with.get(name)}"
            )
    return checkpoint


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
