"""The memories that the stream benchmarks compare, all of the same bytes; split streams' are kept."""

import hashlib
import re
import time
from pathlib import Path

import torch

from dm_replay import CondensedBuffer, DMReplayPlugin
from dm_replay.data.registry import Dataset
from dm_replay.runtime.files import atomic

from .sets import CODECS, PRESETS, condensing

__all__ = ["KEPT", "PLAIN", "bytes_of", "codec_of", "memory_of"]

PLAIN = ("naive", "joint", "stock", "reservoir", "balanced")
KEPT = Path(__file__).parent.parent / "runs" / "split"
OF_DIGITS = dict(extractor_steps=30, augment="color_crop_cutout_scale_rotate")  # small images, no mirrored ones


def codec_of(method: str) -> str | None:
    """The codec of a method of ours."""
    return method.partition("/")[2] or None


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
    allowed = images * data.train.images[0].numel()
    buffer = buffer_of(cell, allowed)
    if method.startswith("gdumb "):
        gdumb = GDumbPlugin(allowed)
        gdumb.storage_policy = buffer
        return [gdumb], buffer
    shown = dict(augment_replay=cell["augment"] == "replay", match_resolution=cell["match_resolution"])
    return [DMReplayPlugin(mem_bytes=allowed, storage_policy=buffer, **replay, **shown)], buffer


def buffer_of(cell: dict, allowed: int) -> CondensedBuffer:
    """A buffer of a method of ours in so many bytes."""
    method = cell["method"].removeprefix("gdumb ")
    reducer, codec = method.split("/")
    kind = "condensed" if condensing(method) else "webp" if codec == "webp" else reducer
    settings = {"kind": kind, "preset": reducer if reducer in PRESETS else "fast", "network": cell["learned"]}
    settings |= CODECS.get(codec, {}) | ({"real_fraction": 0.5} if reducer == "mixed" else {})
    settings |= {
        name: cell[key] for name, key in (("seconds", "seconds_allowed"), ("iterations", "iterations")) if cell[key]
    }
    settings |= OF_DIGITS if cell["dataset"] == "digits" else {}
    about = {"mem_bytes": allowed, "seed": cell["seed"], "progress": False, **settings}
    if cell["stream"] != "classes":
        return CondensedBuffer(**about)
    words = [cell["dataset"], cell["experiences"], cell["seed"], cell["images"], method]
    name = re.sub(r"[^\w.]+", "-", "_".join(map(str, words)))
    return KeptBuffer(KEPT / f"{name}_{hashlib.sha256(repr(settings).encode()).hexdigest()[:8]}", **about)


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
