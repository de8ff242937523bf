"""Condensed replay for continual learning: distribution matching, a fixed-size memory and an Avalanche plugin."""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .augment.siamese import SiameseAugment as SiameseAugment
    from .condensed.condensed_set import CondensedSet as CondensedSet
    from .data.pool import TensorPool as TensorPool
    from .data.registry import load_dataset as load_dataset
    from .evaluation.config import EvalConfig as EvalConfig
    from .evaluation.evaluate import EvalReport as EvalReport
    from .evaluation.evaluate import evaluate as evaluate
    from .matching.condense import condense as condense
    from .matching.config import CondenseConfig as CondenseConfig
    from .networks import build_network as build_network
    from .plugins.checkpoint import load_checkpoint as load_checkpoint
    from .plugins.checkpoint import save_checkpoint as save_checkpoint
    from .plugins.logits import CondensedBufferWithLogits as CondensedBufferWithLogits
    from .plugins.metrics import condensed_memory_metrics as condensed_memory_metrics
    from .plugins.replay import DMReplayPlugin as DMReplayPlugin
    from .plugins.storage_policy import CondensedBuffer as CondensedBuffer
    from .plugins.stream_metrics import stream_metrics as stream_metrics
    from .replay.loader import ReplayLoader as ReplayLoader
    from .replay.memory import CondensedMemory as CondensedMemory

_HOMES = {
    "CondenseConfig": "matching.config",
    "CondensedBuffer": "plugins.storage_policy",
    "CondensedBufferWithLogits": "plugins.logits",
    "CondensedMemory": "replay.memory",
    "CondensedSet": "condensed.condensed_set",
    "DMReplayPlugin": "plugins.replay",
    "EvalConfig": "evaluation.config",
    "EvalReport": "evaluation.evaluate",
    "ReplayLoader": "replay.loader",
    "SiameseAugment": "augment.siamese",
    "TensorPool": "data.pool",
    "build_network": "networks",
    "condense": "matching.condense",
    "condensed_memory_metrics": "plugins.metrics",
    "evaluate": "evaluation.evaluate",
    "load_checkpoint": "plugins.checkpoint",
    "load_dataset": "data.registry",
    "save_checkpoint": "plugins.checkpoint",
    "stream_metrics": "plugins.stream_metrics",
}
_RENAMED = {"Report": "EvalReport", "build": "build_network", "load": "load_dataset"}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _RENAMED:
        warnings.warn(f"dm_replay.{name} is now dm_replay.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return globals().get(_RENAMED[name]) or __getattr__(_RENAMED[name])
    if name not in _HOMES:
        raise AttributeError(f"module 'dm_replay' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
