"""The sets that benchmarks train networks on, all in the bytes of ``ipc`` raw images a class.

A method is named REDUCER/CODEC: how few images come of many, and how they are stored. Either is one of the names here
or a class of your own as MODULE:CLASS. Condensed sets are kept in runs/sets with their record and checkpoint, so that a
stopped one goes on.
"""

import functools
import importlib
import re
import time
from pathlib import Path
from typing import Any

import numpy
import torch

from dm_replay import (
    PLAIN,
    Budget,
    Codec,
    Condense,
    CondenseConfig,
    Dct,
    Herding,
    ImageSet,
    KMeans,
    Mixed,
    Random,
    Reducer,
    Tiles,
    condense,
)
from dm_replay.data.registry import Dataset
from dm_replay.matching.progress import Progress
from dm_replay.runs.jobs import condense_run
from dm_replay.runs.run_folder import RunFolder
from dm_replay.runtime.files import load_sealed, save_sealed
from dm_replay.runtime.settings import to_plain

__all__ = ["EARLY", "WEIGHTINGS", "WHOLE", "codec_of", "condensing"]
__all__ += ["described", "in_steps", "made", "named", "reducer_of"]

SETS = Path(__file__).parent.parent / "runs" / "sets"
SECONDS_BETWEEN_CHECKPOINTS = 60
MORE = 2  # times as many images as usual ones would fill the bytes, since some are smaller
WHOLE, EARLY = "whole", "early stopping"  # all images of a dataset
PRESETS = ("paper", "fast", "plus")
REDUCERS = ("random", "herding", "kmeans", *PRESETS, "mixed")
CODECS = {
    "whole": PLAIN.but(storage="uint8"),
    "half": Tiles(tiles=2, storage="uint8"),
    "quarter": Tiles(tiles=4, storage="uint8"),
    "8bit": Tiles(storage="uint8"),
    "dct": Dct(),
}
WEIGHTINGS: dict[str, dict[str, float]] = {  # of the prefixes of a set; the first two and the last have none
    "random": {},
    "plain": {},
    "equal": {"prefix_weight": 1.0},
    "k^2": {"prefix_weight": 1.0, "prefix_power": 2.0},
    "k": {"prefix_weight": 1.0, "prefix_power": 1.0},
    "0.2": {"prefix_weight": 0.2},
    "0.05": {"prefix_weight": 0.05},
    "0.02": {"prefix_weight": 0.02},
    "alone": {},
}


def named(method: str) -> str:
    """The whole name of a method: without a codec real images and the paper's are whole, others by `Dct`.

    Raises:
        ValueError: for a reducer or a codec that is not known.
    """
    reducer, _, codec = method.partition("/")
    codec = codec or ("dct" if reducer in ("fast", "plus", "mixed") else "whole")
    for name, known in ((reducer, REDUCERS), (codec, tuple(CODECS))):
        if name not in known and ":" not in name and not name.startswith("dct-"):
            raise ValueError(f"{method!r} has {name!r}; choose from {', '.join(known)}, or give a MODULE:CLASS")
    return f"{reducer}/{codec}"


def condensing(method: str) -> bool:
    """Whether it learns its images, which takes a budget of seconds or iterations."""
    return method.partition("/")[0] in (*PRESETS, "mixed")


def reducer_of(cell: dict, **settings: Any) -> Reducer:
    """The reducer of a cell's method.

    Args:
        settings: of :class:`CondenseConfig`, over the preset's.
    """
    name, network = cell["method"].partition("/")[0], cell["learned"] or "convnet"
    if ":" in name:
        return _own(name)
    if not condensing(name):
        return {"random": Random(), "herding": Herding(network), "kmeans": KMeans(network)}[name]
    budget = {"iterations": cell["iterations"]} if cell["iterations"] else {"seconds": cell["seconds_allowed"]}
    preset = name if name in PRESETS else "fast"
    condensed = Condense(CondenseConfig.preset(preset, network=network, **{**budget, **settings}))
    return Mixed(condensed, Herding(network), 0.5) if name == "mixed" else condensed


def codec_of(method: str) -> Codec:
    """The codec of a method; ``dct-STEP`` has another step than the usual one."""
    name = method.partition("/")[2]
    if name.startswith("dct-"):
        return Dct(float(name.removeprefix("dct-")))
    return _own(name) if ":" in name else CODECS[name]


def made(cell: dict, data: Dataset) -> ImageSet:
    """The set of a cell, of the training images; a condensed one says in its ``meta["made"]`` how it was made."""
    if cell["method"] in (WHOLE, EARLY):
        return Random().reduce(data.train, Budget(cell["ipc"] or int(data.train.counts.min())), seed=0)
    if "order" in cell:
        return _grown(cell, data)
    if "at" in cell:
        return _on_the_way(cell, data)
    if cell.get("weighting") == "alone":
        return _one(cell | {"ipc": cell["length"]}, data)
    kept = _one(cell, data, **WEIGHTINGS[cell.get("weighting", "plain")])
    return kept.prefix(cell["length"]) if "length" in cell else kept


def described(kept: ImageSet) -> dict:
    """What a row records of its set."""
    about = {name: kept.meta[name] for name in ("config", "made") if kept.meta.get(name)}
    return {"bytes": kept.nbytes, "training_images": kept.decoded, "codec": to_plain(kept.codec), **about}


def in_steps(data: Dataset, steps: int, order: int) -> tuple[torch.Tensor, ...]:
    """The classes of each step, sorted, in the paper's order of that number."""
    classes = data.train.classes
    shuffled = classes[torch.from_numpy(numpy.random.RandomState(order).permutation(len(classes)))]
    return tuple(part.sort().values for part in shuffled.tensor_split(steps))


def paper_lr(dataset: str, ipc: int, network: str) -> float:
    """``lr_img`` as the paper has it: by dataset and ipc, and smaller for some networks to condense with."""
    if network.startswith("mlp"):
        return 0.01
    if network.startswith("resnet18") or "norm=batch" in network:
        return 0.1
    return 10.0 if dataset == "cifar10" and ipc >= 100 else 1.0


def _own(name: str) -> Any:
    """A reducer or codec of a class of one's own, as it is without settings."""
    module, _, kind = name.partition(":")
    return getattr(importlib.import_module(module), kind)()


def _job(cell: dict, shape: tuple[int, int, int], **settings: Any) -> tuple[Reducer, Codec, int]:
    """What makes a cell's set, what stores it, and the bytes that each class may take."""
    if cell["method"].startswith("paper/"):
        settings["lr_img"] = paper_lr(cell["dataset"], cell["ipc"], cell["learned"])
    allowed = cell["ipc"] * CODECS["whole"].fit(shape).nbytes(shape)
    return reducer_of(cell, **settings), codec_of(cell["method"]).for_class(shape, allowed).fit(shape), allowed


def _one(cell: dict, data: Dataset, part: str = "", **settings: Any) -> ImageSet:
    """Of some of a dataset's classes, where ``part`` says which."""
    reducer, codec, allowed = _job(cell, data.train.shape, **settings)
    if not isinstance(reducer, Condense):
        usual = codec.usual_nbytes(data.train.shape)
        many = allowed // usual
        if usual < codec.nbytes(data.train.shape):
            many = min(MORE * many, int(data.train.counts.min()))
        return _reduced(reducer, data, Budget(many, codec), cell["seed"]).within(allowed)
    folder = RunFolder(_folder(cell, part, cell["learned"], *settings.items(), cell["seed"]))
    config = reducer.config.but(bytes_per_class=allowed, codec=codec)
    condensed = condense_run(folder.path, data, config, seed=cell["seed"], resume=folder.begun, snapshots=0)
    record = folder.read_record()
    about = {name: record[name] for name in ("iterations_done", "updates_done", "commit", "device")}
    return condensed.with_meta(made={**about, "seconds": record["timings"]["total_seconds"]})


@functools.cache
def _reduced(reducer: Reducer, data: Dataset, budget: Budget, seed: int) -> ImageSet:
    """Made once in a process, since herding reads all images."""
    return reducer.reduce(data.train, budget, seed=seed)


def _folder(cell: dict, *words: Any) -> Path:
    """Where the run of a cell's set is kept."""
    budget = f"{cell['iterations']} iterations" if cell["iterations"] else f"{cell['seconds_allowed']:g} s"
    named = [cell["dataset"], cell["ipc"], cell["method"], budget, *filter(str, words)]
    return SETS / "_".join(re.sub(r"[^\w.]+", "-", str(word)) for word in named)


def _grown(cell: dict, data: Dataset) -> ImageSet:
    """The memory after a step: each class from its own step's images."""
    parts = []
    for number, classes in enumerate(in_steps(data, cell["steps_of_classes"], cell["order"])[: cell["step"]], 1):
        part = f"order-{cell['order']}-step-{number}-of-{cell['steps_of_classes']}"
        parts.append(_one(cell, data._replace(train=data.train.subset(classes)), part))
    how = [part.meta.get("made") for part in parts]
    together = how[0] and {name: [about[name] for about in how] for name in how[0]}
    return ImageSet.merge(parts).with_meta(made=together)


def _on_the_way(cell: dict, data: Dataset) -> ImageSet:
    """A run's set at an iteration; the run is made once, and a stopped one goes on from its checkpoint."""
    reducer, codec, allowed = _job(cell, data.train.shape)
    assert isinstance(reducer, Condense)
    folder, end, saved = _folder(cell, "on the way", cell["seed"]), cell["iterations"], time.monotonic()
    checkpoint, last = folder / "checkpoint.pt", folder / f"{end}.pt"

    def keep(step: Progress) -> None:
        nonlocal saved
        if str(step.iteration).rstrip("0") in ("1", "3") and step.iteration < end:
            step.as_set().save(folder / f"{step.iteration}.pt")
        if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
            save_sealed(step.state, checkpoint)
            saved = time.monotonic()

    if not last.exists():
        folder.mkdir(parents=True, exist_ok=True)
        state = load_sealed(checkpoint) if checkpoint.exists() else None
        config = reducer.config.but(bytes_per_class=allowed, codec=codec)
        condense(data.train, config, seed=cell["seed"], on_step=keep, state=state).save(last)
        checkpoint.unlink(missing_ok=True)
    return ImageSet.load(folder / f"{cell['at']}.pt")
