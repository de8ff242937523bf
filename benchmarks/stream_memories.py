"""The memories that the stream benchmarks compare, all of the same bytes; split streams' are kept."""

import hashlib
import re
import time
from pathlib import Path

import torch

from dm_replay import CondensedBuffer, Dct, DMReplayPlugin
from dm_replay.data.registry import Dataset
from dm_replay.runtime.files import atomic

from .sets import codec_of, reducer_of

__all__ = ["KEPT", "ORACLE", "PLAIN", "bytes_of", "memory_of"]

ORACLE = "oracle"  # all images
PLAIN = ("naive", "joint", "stock", "reservoir", "balanced")
KEPT = Path(__file__).parent.parent / "runs" / "split"
PREFIX_WEIGHT = 0.05  # as the plugin has it by default
STEP = 1.6  # of all images by `Dct`: that of a memory of up to 200 raw images' bytes
OF_DIGITS = dict(extractor_steps=30, augment="color_crop_cutout_scale_rotate")  # small images, no mirrored ones


def memory_of(cell: dict, data: Dataset):
    """The plugins of a cell's method, and its buffer."""
    from avalanche.training.plugins import GDumbPlugin, ReplayPlugin
    from avalanche.training.storage_policy import ClassBalancedBuffer, ReservoirSamplingBuffer

    method, images, replay = cell["method"], cell["images"], {"batch_size_mem": cell["replay"]}
    if method in ("naive", "joint"):
        return [], None
    if method in PLAIN:
        policies = {"reservoir": ReservoirSamplingBuffer, "balanced": ClassBalancedBuffer}
        policy = {"storage_policy": policies[method](images)} if method in policies else {}
        plugin = ReplayPlugin(images, **replay, **policy)
        return [plugin], plugin.storage_policy
    allowed = (images or 2 * len(data.train)) * data.train.images[0].numel()
    buffer = buffer_of(cell, data, allowed)
    if method.startswith("gdumb "):
        gdumb = GDumbPlugin(allowed)
        gdumb.storage_policy = buffer
        return [gdumb], buffer
    shown = dict(augment_replay=cell["augment"] == "replay", match_resolution=cell["match_resolution"])
    return [DMReplayPlugin(mem_bytes=allowed, storage_policy=buffer, **replay, **shown)], buffer


def buffer_of(cell: dict, data: Dataset, allowed: int) -> CondensedBuffer:
    """A buffer of a method of ours in so many bytes; of split streams one that is made once."""
    method, whole = cell["method"].removeprefix("gdumb ").replace(ORACLE, "random"), ORACLE in cell["method"]
    settings = {"prefix_weight": PREFIX_WEIGHT, **(OF_DIGITS if cell["dataset"] == "digits" else {})}
    reducer = reducer_of({**cell, "method": method}, **settings)
    codec = Dct(STEP) if whole and codec_of(method) == Dct() else codec_of(method)
    how = {"kind": reducer, "codec": codec, "seed": cell["seed"], "progress": False}
    if cell["stream"] != "classes" or whole:
        return CondensedBuffer(mem_bytes=allowed, **how)
    words = [cell["dataset"], cell["experiences"], cell["seed"], cell["images"], method]
    name = re.sub(r"[^\w.]+", "-", "_".join(map(str, words)))
    settled = hashlib.sha256(repr((how["kind"], how["codec"])).encode()).hexdigest()[:8]
    return KeptBuffer(KEPT / f"{name}_{settled}", mem_bytes=allowed, **how)


class KeptBuffer(CondensedBuffer):
    """A buffer that takes what it would hold after an experience from a folder, or puts it there.

    Attributes:
        spent: seconds that its last update took now; ``seconds`` is what making the memory took, now or before.
    """

    def __init__(self, folder: Path, **settings):
        super().__init__(**settings)
        self.folder, self.spent = folder, 0.0

    def post_adapt(self, agent, exp, num_workers: int = 0) -> None:
        file, started = self.folder / f"{self.memory.updates}.pt", time.perf_counter()
        if file.exists():
            self.memory, self.seconds, self._form = torch.load(file, weights_only=False)
            self._refresh()
        else:
            super().post_adapt(agent, exp, num_workers)
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic(file) as temporary:
                torch.save((self.memory, self.seconds, self._form), temporary)
        self.spent = time.perf_counter() - started


def bytes_of(buffer, data: Dataset) -> int:
    """Of pixels and what decoding them needs; Avalanche's buffers keep whole images of a byte a value."""
    if buffer is None:
        return 0
    if isinstance(buffer, CondensedBuffer):
        return buffer.memory.nbytes
    return len(buffer.buffer) * data.train.images[0].numel()
