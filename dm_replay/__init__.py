"""Condensed replay for continual learning: distribution matching, a fixed-size memory and an Avalanche plugin."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .augment.siamese import SiameseAugment as SiameseAugment
    from .condensed.codec import Codec as Codec
    from .condensed.dct import Dct as Dct
    from .condensed.image_set import ImageSet as ImageSet
    from .condensed.tiles import PLAIN as PLAIN
    from .condensed.tiles import Tiles as Tiles
    from .coresets.real import Herding as Herding
    from .coresets.real import KMeans as KMeans
    from .coresets.real import Random as Random
    from .coresets.reducer import Budget as Budget
    from .coresets.reducer import Reducer as Reducer
    from .data.pool import TensorPool as TensorPool
    from .data.registry import load_dataset as load_dataset
    from .evaluation.evaluate import EvalReport as EvalReport
    from .evaluation.evaluate import evaluate as evaluate
    from .evaluation.recipe import EvalConfig as EvalConfig
    from .matching.condense import condense as condense
    from .matching.config import CondenseConfig as CondenseConfig
    from .matching.reducer import Condense as Condense
    from .matching.reducer import Mixed as Mixed
    from .networks import build_network as build_network
    from .plugins.checkpoint import load_checkpoint as load_checkpoint
    from .plugins.checkpoint import save_checkpoint as save_checkpoint
    from .plugins.comparison import compare as compare
    from .plugins.logits import CondensedBufferWithLogits as CondensedBufferWithLogits
    from .plugins.metrics import condensed_memory_metrics as condensed_memory_metrics
    from .plugins.metrics import stream_metrics as stream_metrics
    from .plugins.replay import DMReplayPlugin as DMReplayPlugin
    from .plugins.storage_policy import CondensedBuffer as CondensedBuffer
    from .replay.loader import ReplayLoader as ReplayLoader
    from .replay.memory import CondensedMemory as CondensedMemory
    from .runtime.settings import Machine as Machine

_HOMES = {
    "ImageSet": "condensed.image_set",
    "Codec": "condensed.codec",
    "Dct": "condensed.dct",
    "Tiles": "condensed.tiles",
    "PLAIN": "condensed.tiles",
    "Budget": "coresets.reducer",
    "Reducer": "coresets.reducer",
    "Random": "coresets.real",
    "Herding": "coresets.real",
    "KMeans": "coresets.real",
    "Mixed": "matching.reducer",
    "Condense": "matching.reducer",
    "Machine": "runtime.settings",
    "CondenseConfig": "matching.config",
    "CondensedBuffer": "plugins.storage_policy",
    "CondensedBufferWithLogits": "plugins.logits",
    "CondensedMemory": "replay.memory",
    "DMReplayPlugin": "plugins.replay",
    "EvalConfig": "evaluation.recipe",
    "EvalReport": "evaluation.evaluate",
    "ReplayLoader": "replay.loader",
    "SiameseAugment": "augment.siamese",
    "TensorPool": "data.pool",
    "build_network": "networks",
    "compare": "plugins.comparison",
    "condense": "matching.condense",
    "condensed_memory_metrics": "plugins.metrics",
    "evaluate": "evaluation.evaluate",
    "load_checkpoint": "plugins.checkpoint",
    "load_dataset": "data.registry",
    "save_checkpoint": "plugins.checkpoint",
    "stream_metrics": "plugins.metrics",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'dm_replay' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
