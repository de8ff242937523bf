"""The sets that benchmarks train networks on, all in the bytes of ``ipc`` raw images a class.

A method is named REDUCER/CODEC: how few images come of many, and how they are stored. Condensed sets are kept in
runs/sets with their record and checkpoint, so that a stopped one goes on.
"""

import functools
import re
import time
from pathlib import Path

import numpy
import torch

from dm_replay import CondenseConfig, CondensedSet, condense
from dm_replay.condensed.coded_set import CodedSet
from dm_replay.condensed.quantize import stored_bytes
from dm_replay.coresets.coded import coded_exemplars
from dm_replay.coresets.config import CodedConfig, ExemplarConfig
from dm_replay.coresets.herding import herding_exemplars
from dm_replay.coresets.kmeans import kmeans_exemplars
from dm_replay.coresets.random import random_exemplars
from dm_replay.data.registry import Dataset
from dm_replay.replay.kinds import merged
from dm_replay.runs.condense_run import condense_run
from dm_replay.runs.run_folder import RunFolder
from dm_replay.runtime.files import load_sealed, save_sealed
from dm_replay.runtime.stages import progress_bar

__all__ = ["EARLY", "WEIGHTINGS", "WHOLE", "condensing", "described", "in_steps", "made", "named"]

SETS = Path(__file__).parent.parent / "runs" / "sets"
SECONDS_BETWEEN_CHECKPOINTS = 60
WHOLE, EARLY = "whole", "early stopping"  # all images of a dataset
PRESETS = ("paper", "fast", "plus")
CHOOSERS = {"random": random_exemplars, "herding": herding_exemplars, "kmeans": kmeans_exemplars}
CODECS = {
    "whole": dict(formation=1, color=1, storage="uint8"),
    "half": dict(formation=2, color=1, storage="uint8"),
    "quarter": dict(formation=4, color=1, storage="uint8"),
    "8bit": dict(color=1, storage="uint8"),
    "code": {},
    "code-whole": dict(formation=1),
}
FILES = {  # real images for each raw one's bytes, and what their sides are divided by
    "webp": ("webp", 20, 2),
    "webp-whole": ("webp", 10, 1),
    "jpeg": ("jpeg", 20, 2),
    "jpeg-whole": ("jpeg", 10, 1),
}
WEIGHTINGS: dict[str, dict[str, float]] = {  # of the prefixes of a set; the first and the last are not nested
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
    """The whole name of a method: without a codec real images and the paper's are whole, others in our code."""
    reducer, _, codec = method.partition("/")
    usual = "code" if reducer in ("fast", "plus", "mixed") else "whole"
    known = (*CHOOSERS, *PRESETS, "mixed")
    if reducer not in known or (codec or usual) not in (*CODECS, *FILES):
        choices = f"{', '.join(known)} / {', '.join((*CODECS, *FILES))}"
        raise ValueError(f"expected a method REDUCER/CODEC of {choices}, got {method!r}")
    return f"{reducer}/{codec or usual}"


def condensing(method: str) -> bool:
    """Whether it learns its images, which takes a budget of seconds or iterations."""
    return method.partition("/")[0] in (*PRESETS, "mixed")


def made(cell: dict, data: Dataset) -> CondensedSet | CodedSet:
    """The set of a cell, of the training images; a condensed one says in its ``meta["made"]`` how it was made."""
    if cell["method"] in (WHOLE, EARLY):
        return random_exemplars(data.train, ExemplarConfig(cell["ipc"] or int(data.train.counts.min())))
    if "order" in cell:
        return _grown(cell, data)
    if "at" in cell:
        return _on_the_way(cell, data)
    if cell.get("weighting") == "alone":
        return _one(cell | {"ipc": cell["length"]}, data)
    kept = _one(cell, data, **WEIGHTINGS[cell.get("weighting", "plain")])
    return kept.prefix(cell["length"]) if "length" in cell else kept


def described(kept: CondensedSet | CodedSet) -> dict:
    """What a row records of its set."""
    about = {name: kept.meta.get(name) for name in ("config", "made") if kept.meta.get(name)}
    coded = {"codec": {"quality": kept.codec.quality}} if isinstance(kept, CodedSet) else {}
    return {"bytes": kept.nbytes, "training_images": kept.decoded, **about, **coded}


def in_steps(data: Dataset, steps: int, order: int) -> tuple[torch.Tensor, ...]:
    """The classes of each step, sorted, in the paper's order of that number."""
    classes = data.train.classes
    shuffled = classes[torch.from_numpy(numpy.random.RandomState(order).permutation(len(classes)))]
    return tuple(part.sort().values for part in shuffled.tensor_split(steps))


def _one(cell: dict, data: Dataset, part: str = "", **settings) -> CondensedSet | CodedSet:
    if not condensing(cell["method"]):
        return _real(cell["method"], data, cell["ipc"], cell["seed"], part)
    config = _config(cell, data, **settings)
    budget = f"{cell['iterations']} iterations" if cell["iterations"] else f"{cell['seconds_allowed']:g} s"
    words = [
        cell["dataset"],
        part,
        str(cell["ipc"]),
        cell["method"],
        budget,
        cell["learned"],
        *map(str, settings.items()),
    ]
    folder = RunFolder(SETS / "_".join(re.sub(r"[^\w.]+", "-", word) for word in [*words, str(cell["seed"])] if word))
    condensed = condense_run(folder.path, data, config, seed=cell["seed"], resume=folder.begun, snapshots=0)
    record = folder.read_record()
    about = {name: record[name] for name in ("iterations_done", "updates_done", "commit", "device")}
    return condensed.with_meta(made={**about, "seconds": record["timings"]["total_seconds"]})


def _config(cell: dict, data: Dataset, **settings) -> CondenseConfig:
    preset, codec = cell["method"].split("/")
    budget = {
        name: cell[key] for name, key in (("iterations", "iterations"), ("seconds", "seconds_allowed")) if cell[key]
    }
    if preset == "paper":
        settings["lr_img"] = paper_lr(cell["dataset"], cell["ipc"], cell["learned"])
    allowed = cell["ipc"] * stored_bytes(data.train.shape, "uint8")
    settings |= CODECS[codec] | budget
    return CondenseConfig(preset=preset, bytes_per_class=allowed, network=cell["learned"], **settings)


@functools.cache
def _real(method: str, data: Dataset, ipc: int, seed: int, part: str) -> CondensedSet | CodedSet:
    """Made once in a process, since herding reads all images."""
    reducer, codec = method.split("/")
    if codec in FILES:
        name, times, shrink = FILES[codec]
        return coded_exemplars(data.train, CodedConfig(ipc, ipc * times, name, shrink), seed=seed)
    allowed = ipc * stored_bytes(data.train.shape, "uint8")
    fast = CondenseConfig(preset="fast", bytes_per_class=allowed, **CODECS[codec]).sized(data.train.shape)
    stored = ExemplarConfig(fast.ipc, fast.storage, fast.formation, fast.color, fast.enlarging)
    return CHOOSERS[reducer](data.train, stored, seed=seed)


def _grown(cell: dict, data: Dataset) -> CondensedSet | CodedSet:
    """The memory after a step: each class from its own step's images."""
    parts = []
    for number, classes in enumerate(in_steps(data, cell["steps_of_classes"], cell["order"])[: cell["step"]], 1):
        part = f"order-{cell['order']}-step-{number}-of-{cell['steps_of_classes']}"
        parts.append(_one(cell, data._replace(train=data.train.subset(classes)), part))
    how = [part.meta.get("made") for part in parts]
    return merged(parts).with_meta(made=how[0] and {name: [about[name] for about in how] for name in how[0]})


def _on_the_way(cell: dict, data: Dataset) -> CondensedSet:
    """A run's set at an iteration; the run is made once, and a stopped one goes on from its checkpoint."""
    config = _config(cell, data)
    name = re.sub(r"[^\w.]+", "-", f"{cell['dataset']}_{cell['ipc']}_{cell['method']}_{cell['iterations']}")
    folder = SETS / f"{name}_way"
    checkpoint, last = folder / "checkpoint.pt", folder / f"{cell['iterations']}.pt"
    if not last.exists():
        folder.mkdir(parents=True, exist_ok=True)
        state = load_sealed(checkpoint) if checkpoint.exists() else None
        with progress_bar(f"condensing {cell['method']}", config.iterations) as bar:
            bar.update(state["iteration"] if state else 0)
            saved = time.monotonic()

            def keep(step) -> None:
                nonlocal saved
                bar.update()
                if _marked(step.iteration) and step.iteration < config.iterations:
                    step.as_set().save(folder / f"{step.iteration}.pt")
                if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    save_sealed(step.state, checkpoint)
                    saved = time.monotonic()

            condense(data.train, config, seed=cell["seed"], on_step=keep, state=state).save(last)
        checkpoint.unlink(missing_ok=True)
    return CondensedSet.load(folder / f"{cell['at']}.pt")


def _marked(iteration: int) -> bool:
    """Whether a run's set is kept after so many iterations: 1, 3, 10, 30, ..."""
    return str(iteration).rstrip("0") in ("1", "3")


def paper_lr(dataset: str, ipc: int, network: str) -> float:
    """``lr_img`` as the paper has it: by dataset and ipc, and smaller for some networks to condense with."""
    if network.startswith("mlp"):
        return 0.01
    if network.startswith("resnet18") or "norm=batch" in network:
        return 0.1
    return 10.0 if dataset == "cifar10" and ipc >= 100 else 1.0
