"""Condensed replay for continual learning: distribution matching, a fixed-size memory and an Avalanche plugin."""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "CondenseConfig": "condensation",
    "CondensedBuffer": "buffer",
    "CondensedMemory": "memory",
    "CondensedSet": "condensed",
    "DMReplayPlugin": "plugin",
    "EvalConfig": "evaluation",
    "Report": "evaluation",
    "SiameseAugment": "augment",
    "TensorPool": "pools",
    "build": "networks",
    "condense": "condensation",
    "condensed_memory_metrics": "metrics",
    "evaluate": "evaluation",
    "load": "datasets",
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
