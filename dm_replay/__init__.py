"""Condensed replay for continual learning: distribution matching, a fixed-size memory and an Avalanche plugin."""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "CondenseConfig": "matching.condense",
    "CondensedBuffer": "plugins.storage_policy",
    "CondensedMemory": "replay.memory",
    "CondensedSet": "condensed.condensed_set",
    "DMReplayPlugin": "plugins.replay",
    "EvalConfig": "evaluation.evaluate",
    "Report": "evaluation.evaluate",
    "SiameseAugment": "augment.siamese",
    "TensorPool": "data.pool",
    "build": "networks",
    "condense": "matching.condense",
    "condensed_memory_metrics": "plugins.metrics",
    "evaluate": "evaluation.evaluate",
    "load": "data.registry",
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
