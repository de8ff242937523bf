"""The commands of the command line. Each takes its argv and prints what a user wants to know."""

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jsonargparse import Namespace

from ..condensed.condensed_set import CondensedSet
from ..condensed.export import FORMATS
from ..condensed.figures import animate, grid, save_picture
from ..coresets.random import random_set
from ..data.registry import Dataset
from ..evaluation.config import EvalConfig
from ..evaluation.evaluate import evaluate as measure
from ..evaluation.report import EvalReport
from ..matching.config import CondenseConfig
from ..runs.condense_run import Interrupted, condense_run
from ..runs.loss_log import progress_bar
from ..runs.run_folder import RunFolder
from ..runtime.distributed import RankLost, World, joined, world
from ..runtime.engine import resolve_device
from ..runtime.provenance import provenance
from .flags import Flags, make

__all__ = ["condense", "demo", "evaluate", "export", "show"]


def condense(argv: Sequence[str]) -> None:
    """Condense a dataset into a few synthetic images per class, in a folder. A stopped run can go on."""
    flags = Flags(condense)
    flags.add_argument("--out", type=Path, required=True, help="folder of the run")
    flags.add_switches(
        resume="go on with the stopped run in --out, with the settings it was begun with",
        overwrite="begin anew where --out holds a run",
        quiet="no progress bar",
    )
    switches = ("resume", "overwrite", "quiet")
    settings = flags.add_function(condense_run, "out", "dataset", "config", *switches)
    flags.add_dataset(default="digits")
    flags.add_config("method", CondenseConfig)
    args = flags.parse_args(argv)
    folder = RunFolder(args.out)
    if args.resume:
        begun_with = folder.read_record().get("settings", {})
        flags.set_defaults({name: value for name, value in begun_with.items() if name in args})
        args = flags.parse_args(argv)
    dataset, config = make(CondenseConfig, args)
    how = {name: args[name] for name in (*settings, *switches)}
    try:
        condensed = condense_run(args.out, dataset, config, **how)
    except Interrupted as stop:
        if not world().main:
            raise SystemExit(130) from stop
        raise KeyboardInterrupt(f"{stop}; go on with: {_resuming(args)}") from stop
    except RankLost as lost:
        raise RankLost(f"{lost}; go on with: {_resuming(args)}") from lost
    if not world().main:
        return
    seconds = folder.read_record()["timings"]["seconds_per_iteration"]
    print(f"{folder.condensed}: {_contents(condensed)}, {seconds:.3g} s per iteration")


def evaluate(argv: Sequence[str]) -> None:
    """Train fresh networks on a condensed set alone and test them on the dataset's real test images."""
    flags = Flags(evaluate)
    _add_set(flags)
    flags.add_switches(
        json="print one JSON object",
        baseline="also measure as many random real images, likewise",
        quiet="no progress bar",
    )
    flags.add_dataset(default=None)
    flags.add_function(measure, "train_set", "test_pool", "config", "on_epoch")
    flags.add_config("training", EvalConfig)
    args = flags.parse_args(argv)
    condensed = _load(args.set)
    args.dataset = args.dataset or _dataset_of(condensed)
    dataset, config = make(EvalConfig, args)
    sets = {"condensed": condensed}
    if args.baseline:
        sets["random"] = random_set(dataset.train.subset(condensed.classes), _per_class(condensed), args.seed)
    with joined() as here:
        reports = {name: _measure(name, images, dataset, config, args, here) for name, images in sets.items()}
    if not here.main:
        return
    if args.json:
        origin = {"set": str(args.set), "dataset": args.dataset, **provenance(resolve_device(config.device))}
        measured = {name: json.loads(report.to_json()) for name, report in reports.items()}
        print(json.dumps({**origin, **measured}, indent=2))
    else:
        for name, report in reports.items():
            print(f"{name:<9}  {report}  ({_contents(sets[name])})")


def show(argv: Sequence[str]) -> None:
    """Picture of a condensed set, classes as rows; with --out X.gif, animation of its run's snapshots."""
    flags = Flags(show)
    _add_set(flags)
    _add_out(flags, "picture (.png) or animation (.gif)")
    flags.add_function(grid, "condensed")
    args = flags.parse_args(argv)
    _check_folder_of(args.out)
    if args.out.suffix.lower() == ".gif":
        return _animate(args.set, args.out)
    condensed = _load(args.set)
    save_picture(grid(condensed, args.classes, args.per_class), args.out)
    left = max(0, len(condensed.classes) - args.classes)
    print(f"{args.out}: {_contents(condensed)}" + (f", {left} classes left out (--classes)" if left else ""))


def export(argv: Sequence[str]) -> None:
    """Write condensed images for other programs."""
    flags = Flags(export)
    _add_set(flags)
    flags.add_argument("--format", choices=sorted(FORMATS), required=True)
    _add_out(flags, "npz file or new folder")
    args = flags.parse_args(argv)
    _check_folder_of(args.out)
    condensed = _load(args.set)
    FORMATS[args.format](condensed, args.out)
    print(f"{args.out}: {_contents(condensed)}")


def demo(argv: Sequence[str]) -> None:
    """Class-incremental digits in Avalanche: naive, stock replay and condensed replay at equal bytes."""
    from .demo import run_demo

    flags = Flags(demo)
    flags.add_function(run_demo)
    run_demo(**flags.parse_args(argv).as_dict())


def _add_set(flags: Flags) -> None:
    flags.add_argument("set", type=Path, help="condensed.pt, a run's folder, or the official code's res_*.pt")


def _add_out(flags: Flags, help: str) -> None:
    flags.add_argument("--out", type=Path, required=True, help=help)


def _load(path: Path) -> CondensedSet:
    return CondensedSet.load(RunFolder(path).condensed if path.is_dir() else path)


def _dataset_of(condensed: CondensedSet) -> str:
    if "dataset" not in condensed.meta:
        raise ValueError("the set does not say of which dataset it is: give --dataset")
    return condensed.meta["dataset"]


def _resuming(args: Namespace) -> str:
    """The command that goes on with a stopped run."""
    here = world()
    launch = ["torchrun", "--nproc-per-node", str(here.local_size), "-m", "dm_replay.cli"]
    argv = [*(["dm-replay"] if here.size == 1 else launch), "condense", "--resume", "--out", str(args.out)]
    return shlex.join([*argv, "--root", str(args.root)] if args.root else argv)


def _measure(
    name: str, images: CondensedSet, dataset: Dataset, config: EvalConfig, args: Namespace, here: World
) -> EvalReport:
    """The report of all runs, which the processes share out, on the first process; elsewhere of its own."""
    started = time.perf_counter()
    report = _own_runs(name, images, dataset, config, args, here)
    accuracies = here.gather(torch.tensor(report.accuracies, dtype=torch.float64)).tolist()
    settings = {**report.settings, "runs": len(accuracies)}
    return replace(report, accuracies=tuple(accuracies), settings=settings, seconds=time.perf_counter() - started)


def _own_runs(
    name: str, images: CondensedSet, dataset: Dataset, config: EvalConfig, args: Namespace, here: World
) -> EvalReport:
    shard = here.shard(args.runs)
    runs = shard.stop - shard.start
    if runs == 0 and not here.main:
        return EvalReport((), {}, 0.0)
    how = {"network": args.network, "seed": args.seed, "runs": runs, "first": args.first + shard.start}
    quiet = args.quiet or not here.main
    with progress_bar(f"evaluating {name}", runs * (config.epochs + 1), quiet=quiet, unit=" epochs") as bar:
        return measure(images, dataset.test, config, **how, on_epoch=lambda run, epoch: bar.update())


def _animate(path: Path, out: Path) -> None:
    folder = RunFolder(path if path.is_dir() else path.parent)
    if not folder.snapshots:
        raise ValueError(f"no snapshots to animate: expected {folder.images}/iter_*.png")
    animate(folder.snapshots, out)
    print(f"{out}: {len(folder.snapshots)} snapshots")


def _check_folder_of(out: Path) -> None:
    if not out.absolute().parent.is_dir():
        raise ValueError(f"no such folder to write to: {out.absolute().parent}")


def _per_class(condensed: CondensedSet) -> int:
    return int(condensed.labels.unique(return_counts=True)[1].max())


def _contents(condensed: CondensedSet) -> str:
    classes = len(condensed.classes)
    return f"{len(condensed):,} images of {classes} classes, {condensed.storage}, {condensed.nbytes:,} bytes"
