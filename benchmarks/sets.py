"""The sets that benchmarks train networks on, real images and condensed ones, all in the bytes of ``ipc`` raw images.

Those that are condensed are kept in runs/sets with their record and checkpoint, so that a stopped one goes on.
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from dm_replay import CondenseConfig, CondensedSet, TensorPool
from dm_replay.condensed.coded_set import CodedSet
from dm_replay.condensed.quantize import stored_bytes
from dm_replay.coresets.coded import coded_exemplars
from dm_replay.coresets.config import CodedConfig, ExemplarConfig
from dm_replay.coresets.herding import herding_exemplars
from dm_replay.coresets.kmeans import kmeans_exemplars
from dm_replay.coresets.random import random_exemplars
from dm_replay.data.registry import Dataset
from dm_replay.runs.condense_run import condense_run
from dm_replay.runs.run_folder import RunFolder

__all__ = [
    "CODED",
    "CONDENSED",
    "METHODS",
    "REAL",
    "Budget",
    "class_bytes",
    "described",
    "made",
    "paper_lr",
]

SETS = Path(__file__).parent.parent / "runs" / "sets"
REAL = {
    "random": lambda pool, ipc, seed: random_exemplars(pool, ExemplarConfig(ipc), seed=seed),
    "herding": lambda pool, ipc, seed: herding_exemplars(pool, ExemplarConfig(ipc), seed=seed),
    "k-means": lambda pool, ipc, seed: kmeans_exemplars(pool, ExemplarConfig(ipc), seed=seed),
    "shrunk 2": lambda pool, ipc, seed: random_exemplars(pool, ExemplarConfig(ipc, formation=2), seed=seed),
    "shrunk 4": lambda pool, ipc, seed: random_exemplars(pool, ExemplarConfig(ipc, formation=4), seed=seed),
    "our code, random": lambda pool, ipc, seed: random_exemplars(pool, our_code(pool, ipc), seed=seed),
    "our code, herding": lambda pool, ipc, seed: herding_exemplars(pool, our_code(pool, ipc), seed=seed),
}
CODED = {  # real images for each raw one's bytes, and what their sides are divided by
    "webp, 10 images": ("webp", 10, 1),
    "webp, 20 images at half size": ("webp", 20, 2),
    "jpeg, 10 images": ("jpeg", 10, 1),
    "jpeg, 20 images at half size": ("jpeg", 20, 2),
}
CONDENSED = {"dm": "paper", "fast": "fast", "plus": "plus"}
METHODS = [*REAL, *CODED, *CONDENSED]
_REAL_SETS: dict[tuple, CondensedSet | CodedSet] = {}  # those of this process: herding reads all images


@dataclass(frozen=True)
class Budget:
    """What condensing may take: seconds, unless iterations are given."""

    seconds: float | None = 180.0
    iterations: int | None = None

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Budget":
        return cls(None, options.iterations) if options.iterations else cls(options.seconds)

    @staticmethod
    def add_to(parser: argparse.ArgumentParser, seconds: float = 180.0) -> None:
        parser.add_argument("--seconds", type=float, default=seconds, help="of condensing")
        parser.add_argument("--iterations", type=int, help="of condensing, instead of a time; the paper's are 20000")

    @property
    def settings(self) -> dict:
        return {"iterations": self.iterations} if self.iterations else {"seconds": self.seconds}

    def __str__(self) -> str:
        return f"{self.iterations} iterations" if self.iterations else f"{self.seconds:g} s"


def made(
    method: str, data: Dataset, ipc: int, budget: Budget, seed: int = 0, part: str = "", **settings
) -> CondensedSet | CodedSet:
    """The set of a method, of the training images; a condensed one is taken from runs/sets where it is there, and says
    in its ``meta["made"]`` how it was made.

    Args:
        part: says which of a dataset's classes ``data`` holds, where it is not all.
        settings: of :class:`CondenseConfig`, over the preset's; real images do without.
    """
    pool = data.train
    if method not in CONDENSED:
        key = (method, data.spec.name, part, len(pool), ipc, seed)
        if key not in _REAL_SETS:
            _REAL_SETS[key] = _real_set(method, pool, ipc, seed)
        return _REAL_SETS[key]
    settings |= budget.settings
    if method == "dm":
        settings.setdefault("lr_img", paper_lr(data.spec.name, ipc, settings.get("network", "convnet")))
    config = CondenseConfig(preset=CONDENSED[method], bytes_per_class=class_bytes(pool, ipc), **settings)
    words = [data.spec.name, part, str(ipc), method, str(budget), config.network, str(seed)]
    folder = RunFolder(SETS / "_".join(re.sub(r"[^\w.]", "-", word) for word in words if word))
    condensed = condense_run(folder.path, data, config, seed=seed, resume=folder.begun, snapshots=0)
    record = folder.read_record()
    about = {name: record[name] for name in ("iterations_done", "updates_done", "commit", "device")}
    return condensed.with_meta(made={**about, "seconds": record["timings"]["total_seconds"]})


def _real_set(method: str, pool: TensorPool, ipc: int, seed: int) -> CondensedSet | CodedSet:
    if method in REAL:
        return REAL[method](pool, ipc, seed)
    codec, times, shrink = CODED[method]
    return coded_exemplars(pool, CodedConfig(ipc, ipc * times, codec, shrink), seed=seed)


def described(kept: CondensedSet | CodedSet, dataset: str, method: str, ipc: int, budget: Budget, seed: int) -> dict:
    """What a cell records of its set."""
    return {
        "dataset": dataset,
        "ipc": ipc,
        "method": method,
        "budget": str(budget) if method in CONDENSED else None,
        "set": seed,
        "bytes": kept.nbytes,
        "training_images": kept.decoded,
        "config": kept.meta.get("config"),
        "made": kept.meta.get("made"),
    }


def class_bytes(pool, ipc: int) -> int:
    """Of so many images with one byte a value, and the range of each channel."""
    return ipc * stored_bytes(pool.shape, "uint8")


def paper_lr(dataset: str, ipc: int, network: str) -> float:
    """``lr_img`` as the paper has it: by dataset and ipc, and smaller for some networks to condense with."""
    if network.startswith("mlp"):
        return 0.01
    if network.startswith("resnet18") or "norm=batch" in network:
        return 0.1
    return 10.0 if dataset == "cifar10" and ipc >= 100 else 1.0


def our_code(pool, ipc: int) -> ExemplarConfig:
    """As many real images as ``fast`` has condensed ones, stored alike."""
    fast = CondenseConfig(preset="fast", bytes_per_class=class_bytes(pool, ipc)).sized(pool.shape)
    return ExemplarConfig(fast.ipc, fast.storage, fast.formation, fast.color, fast.enlarging)
