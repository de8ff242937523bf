"""The memories that the stream benchmarks compare, all of the same bytes, made once and kept."""

import argparse
import time
from pathlib import Path

import torch
from common import short_hash

from dm_replay import CondensedBuffer, DMReplayPlugin
from dm_replay.data.registry import Dataset
from dm_replay.runtime.files import atomic

__all__ = ["KEPT", "MEMORIES", "bytes_of", "condensing", "memory_of"]

HERDED = dict(kind="herding", network="convnet:width=64")  # whose random features herding goes by
MEMORIES = {
    "herding": dict(**HERDED, preset="paper"),
    "shrunk": dict(**HERDED, preset="paper", formation=4, enlarging="sharp", storage="uint8"),
    "webp": dict(**HERDED | {"kind": "webp"}),
    "code": dict(**HERDED, preset="fast"),
    "code whole": dict(**HERDED, preset="fast", formation=1),
    "fast": dict(preset="fast"),
    "fast whole": dict(preset="fast", formation=1),
    "plus": dict(preset="plus"),
    "mixed": dict(preset="fast", real_fraction=0.5),
}
KEPT = Path(__file__).parent.parent / "runs" / "split"


def memory_of(method: str, images: int, seed: int, resampled: float, data: Dataset, options: argparse.Namespace):
    """The plugins of a method, and its buffer."""
    from avalanche.training.plugins import GDumbPlugin, ReplayPlugin

    if method in ("naive", "joint"):
        return [], None
    if method == "stock":
        plugin = ReplayPlugin(mem_size=images, batch_size_mem=options.replay)
        return [plugin], plugin.storage_policy
    settings = MEMORIES[method.removeprefix("gdumb ")]
    allowed = images * data.train.images[0].numel()
    kind = method.removeprefix("gdumb ").replace(" ", "-")
    name = f"{options.dataset}_{options.experiences}_{seed}_{images}_{kind}"
    if condensing(method):
        settings, name = {**settings, "seconds": options.seconds}, f"{name}_{options.seconds:g}s"
    folder = KEPT / f"{name}_{short_hash(settings)}"
    buffer = KeptBuffer(folder, mem_bytes=allowed, seed=seed, progress=False, **settings)
    if not method.startswith("gdumb "):
        shown = dict(batch_size_mem=options.replay, augment_replay=False, match_resolution=resampled)
        return [DMReplayPlugin(mem_bytes=allowed, storage_policy=buffer, **shown)], buffer
    plugin = GDumbPlugin(allowed)
    plugin.storage_policy = buffer
    return [plugin], buffer


def condensing(method: str) -> bool:
    """Whether its memory is learned, which takes the time that is given."""
    settings = MEMORIES.get(method.removeprefix("gdumb "))
    return settings is not None and "kind" not in settings


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
    """Of pixels and what decoding them needs; the stock buffer keeps whole images of a byte a value."""
    if buffer is None:
        return 0
    if isinstance(buffer, CondensedBuffer):
        return buffer.memory.nbytes
    return len(buffer.buffer) * data.train.images[0].numel()
