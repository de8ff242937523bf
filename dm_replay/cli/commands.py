"""The commands of the command line. Each takes its argv and prints what a user wants to know."""

import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..condensed.export import ANIMATION, FORMATS, PICTURE, animate, grid, save_picture
from ..condensed.image_set import ImageSet
from ..condensed.stored import STORAGES, Packed
from ..condensed.tiles import Tiles
from ..coresets.real import Random
from ..coresets.reducer import Budget
from ..evaluation.recipe import EvalConfig
from ..matching.config import CondenseConfig
from ..runs.jobs import SNAPSHOTS, check_out, condense_run, evaluate_run
from ..runs.recorder import Interrupted
from ..runs.run_folder import RunFolder
from ..runtime import hardware
from ..runtime.distributed import RankLost, world
from ..runtime.engine import resolve_device
from ..runtime.hardware import provenance
from .flags import Arguments, Flags, dataset_of, make

__all__ = ["compare", "condense", "demo", "doctor", "evaluate", "export", "show"]

STORED = "of mosaics the stored images, not the training images that they decode to"


def condense(argv: Sequence[str]) -> None:
    """Condense a dataset into a few synthetic images per class, in a folder. A stopped run can go on."""
    flags = Flags(condense, "dm-replay condense --dataset cifar10 --root DIR --ipc 10 --out RUN")
    flags.add_out("FOLDER", "folder of the run")
    flags.add_switches(
        resume="go on with the stopped run in --out, with the settings it was begun with",
        overwrite="begin anew where --out holds a run",
        quiet="no progress bar",
    )
    switches = ("resume", "overwrite", "quiet")
    snapshots = f"pictures to write on the way, beside one after the first iteration; 0 for none (default: {SNAPSHOTS})"
    settings = flags.add_function(condense_run, "out", "dataset", "config", *switches, snapshots=snapshots)
    flags.add_dataset(default="digits")
    flags.add_config("method (auto: what is usual for the dataset)", CondenseConfig())
    args = flags.parse_args(argv)
    folder = RunFolder(args.out)
    if args.resume:
        flags.remember(folder.begun_with(), folder.record)
        args = flags.parse_args(argv)
    config = make(CondenseConfig(), args)
    check_out(folder, args.resume, args.overwrite)
    hardware.keep_memory()
    how = {name: args[name] for name in (*settings, *switches)}
    try:
        condensed = condense_run(args.out, dataset_of(args), config, **how)
    except Interrupted as stop:
        if not world().main:
            raise SystemExit(130) from stop
        raise KeyboardInterrupt(f"{stop}; go on with: {_resuming(args)}") from stop
    except RankLost as lost:
        raise RankLost(f"{lost}; go on with: {_resuming(args)}") from lost
    if not world().main:
        return
    timings = folder.read_record().get("timings")
    pace = timings.get("seconds_per_iteration") if isinstance(timings, dict) else None
    print(f"{folder.condensed}: {_contents(condensed)}" + (f", {pace:.3g} s per iteration" if pace else ""))


def evaluate(argv: Sequence[str]) -> None:
    """Train fresh networks on a condensed set alone and test them on the dataset's real test images."""
    flags = Flags(evaluate, "dm-replay evaluate RUN --runs 5 --baseline")
    flags.add_set()
    flags.add_switches(
        json="print one JSON object",
        baseline="also measure random real images in the same bytes, whole and, if the set's are not, stored alike",
        quiet="no progress bar",
    )
    flags.add_function(
        evaluate_run,
        *("sets", "test_pool", "config", "quiet"),
        network="what is trained, e.g. convnet:norm=batch,depth=4",
        runs="networks, each trained and tested by itself",
        seed="seed of everything random",
        first="number of the first run: run k depends on --seed and --first + k alone, so that runs can be shared out",
    )
    flags.add_dataset(default=None)
    flags.add_config("training (auto: what is usual for the dataset)", EvalConfig())
    args = flags.parse_args(argv)
    config = make(EvalConfig(), args)
    hardware.keep_memory()
    condensed = _load(args.set)
    args.dataset = args.dataset or _dataset_name(condensed)
    dataset = dataset_of(args)
    sets = {"condensed": condensed}
    if args.baseline:
        pool, ipc = dataset.train.subset(condensed.classes), int(condensed.labels.unique(return_counts=True)[1].max())
        sets["random"] = Random().reduce(pool, Budget(_whole_images(condensed, ipc)), seed=args.seed)
        if condensed.codec.value_shape(condensed.shape) != condensed.shape or not condensed.codec.plain:
            sets["shrunk"] = Random().reduce(pool, Budget(ipc, condensed.codec), seed=args.seed)
    how = {name: args[name] for name in ("network", "runs", "seed", "first", "quiet")}
    reports = evaluate_run(sets, dataset.test, config, **how)
    if not world().main:
        return
    if args.json:
        origin = {"set": str(args.set), "dataset": args.dataset, **provenance(resolve_device(config.machine.device))}
        measured = {name: json.loads(report.to_json()) for name, report in reports.items()}
        print(json.dumps({**origin, **measured}, indent=2))
    else:
        for name, report in reports.items():
            print(f"{name:<9}  {report}  ({_contents(sets[name])})")


def show(argv: Sequence[str]) -> None:
    """Picture of a condensed set, classes as rows; with --out X.gif, animation of its run's snapshots."""
    flags = Flags(show, "dm-replay show RUN --out grid.png")
    flags.add_set()
    flags.add_out("FILE", f"picture ({PICTURE}) or animation ({ANIMATION})")
    flags.add_switches(stored=STORED)
    flags.add_function(grid, "condensed")
    args = flags.parse_args(argv)
    _check_file(args.out, PICTURE, ANIMATION)
    if args.out.suffix.lower() == ANIMATION:
        return _animate(args.set, args.out)
    condensed = _as_asked(_load(args.set), args.stored)
    save_picture(grid(condensed, args.classes, args.per_class), args.out)
    left = max(0, len(condensed.classes) - args.classes)
    print(f"{args.out}: {_contents(condensed)}" + (f", {left} classes left out (--classes)" if left else ""))


def export(argv: Sequence[str]) -> None:
    """Write condensed images for other programs."""
    flags = Flags(export, "dm-replay export RUN --format npz --out images.npz")
    flags.add_set()
    choices = sorted(FORMATS)
    text = "a folder of PNGs for each class, or arrays as networks see them"
    flags.add_argument("--format", required=True, choices=choices, metavar="{" + ",".join(choices) + "}", help=text)
    flags.add_out("PATH", "npz file or new folder")
    flags.add_switches(stored=STORED)
    args = flags.parse_args(argv)
    _check_parent(args.out)
    condensed = _as_asked(_load(args.set), args.stored)
    FORMATS[args.format](condensed, args.out)
    print(f"{args.out}: {_contents(condensed)}")


def compare(argv: Sequence[str]) -> None:
    """Train a network on a dataset class by class in Avalanche, with several memories of the same bytes."""
    from .streams import run_comparison

    flags = Flags(compare, "dm-replay compare --dataset cifar10 --root DIR --mem-bytes 61440 --out RUN")
    flags.add_out("FOLDER", "folder of the comparison; what it has already is not made again")
    flags.add_switches(quiet="print the table only")
    settings = flags.add_function(run_comparison, "out", "dataset", "quiet")
    flags.add_dataset(default="digits")
    args = flags.parse_args(argv)
    hardware.keep_memory()
    run_comparison(args.out, dataset_of(args), **{name: args[name] for name in (*settings, "quiet")})


def demo(argv: Sequence[str]) -> None:
    """Class-incremental digits in Avalanche: without a memory, and with memories of the same bytes."""
    from .streams import run_demo

    flags = Flags(demo, "dm-replay demo --seeds 1")
    flags.add_out("FOLDER", "folder for accuracy.png and condensed.png", default="runs/demo")
    flags.add_function(run_demo, "out")
    run_demo(**vars(flags.parse_args(argv)))


def doctor(argv: Sequence[str]) -> None:
    """Versions, devices, what the engine would choose and why, its self-check and its speed: for a bug report."""
    from .doctor import run_doctor

    flags = Flags(doctor, "dm-replay doctor")
    flags.add_switches(json="print one JSON object")
    flags.add_argument(
        "--device", metavar="DEVICE", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: auto)"
    )
    args = flags.parse_args(argv)
    run_doctor(args.device, args.json)


def _load(path: Path) -> ImageSet:
    return ImageSet.load(RunFolder(path).condensed if path.is_dir() else path)


def _dataset_name(condensed: ImageSet) -> str:
    if "dataset" not in condensed.meta:
        raise ValueError("the set does not say of which dataset it is: give --dataset")
    return condensed.meta["dataset"]


def _resuming(args: Arguments) -> str:
    """The command that goes on with a stopped run."""
    here = world()
    launch = ["torchrun", "--nproc-per-node", str(here.local_size), "-m", "dm_replay.cli"]
    argv = [*(["dm-replay"] if here.size == 1 else launch), "condense", "--resume", "--out", str(args.out)]
    return shlex.join([*argv, "--root", str(args.root)] if args.root else argv)


def _animate(path: Path, out: Path) -> None:
    folder = RunFolder(path if path.is_dir() else path.parent)
    if not folder.snapshots:
        raise ValueError(f"no snapshots to animate: expected {folder.images}/iter_*.png")
    animate(folder.snapshots, out)
    print(f"{out}: {len(folder.snapshots)} snapshots")


def _check_file(out: Path, *suffixes: str) -> None:
    if out.is_dir():
        raise ValueError(f"{out} is a directory; expected a file to write")
    if out.suffix.lower() not in suffixes:
        raise ValueError(f"cannot write {out}: its name must end in {' or '.join(suffixes)}")
    _check_parent(out)


def _check_parent(out: Path) -> None:
    if not out.absolute().parent.is_dir():
        raise ValueError(f"no such folder to write to: {out.absolute().parent}")


def _as_asked(condensed: ImageSet, stored: bool) -> ImageSet:
    return condensed.as_stored() if stored else condensed


def _whole_images(condensed: ImageSet, ipc: int) -> int:
    """Of each class in the bytes of a set, at one byte a value, as which floats count, too; at least 1."""
    each = Packed.nbytes_of(condensed.shape, "uint8")
    if STORAGES[condensed.storage].is_floating_point:
        return max(1, ipc * math.prod(condensed.codec.value_shape(condensed.shape)) // math.prod(condensed.shape))
    return max(1, condensed.nbytes // (len(condensed.classes) * each))


def _contents(condensed: ImageSet) -> str:
    classes = len(condensed.classes)
    decoded = f" ({condensed.decoded:,} decoded)" if condensed.decoded > len(condensed) else ""
    codec = condensed.codec
    kept = codec.storage if isinstance(codec, Tiles) else f"by {type(codec).__name__}"
    return f"{len(condensed):,} images{decoded} of {classes} classes, {kept}, {condensed.nbytes:,} bytes"
