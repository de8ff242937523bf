"""Settings of the condensation as the plugin takes them, checked before anything is trained."""

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from ..condensed.quantize import BITS
from ..matching.config import CondenseConfig
from ..networks import build_network
from ..replay.memory import DEFAULT, CondensedMemory
from ..runtime.engine import resolve_device

__all__ = ["check_begun", "check_network", "condense_config"]

DEFAULTS = {name: getattr(DEFAULT, name) for name in ("preset", "iterations", "patience", "prefix_weight")}
LARGE = (3, 512, 512)  # an image that any sensible depth fits; the real one is known when an experience comes


def condense_config(config: CondenseConfig | None, settings: dict[str, Any]) -> CondenseConfig:
    """The config, or the default with these fields changed; ValueError if it cannot be run here."""
    if config is not None and settings:
        raise ValueError(f"give config or single settings, got config and {', '.join(settings)}")
    known = sorted({field.name for field in fields(CondenseConfig)} - {"ipc", "bytes_per_class"})
    for name in settings:
        if name not in known:
            raise ValueError(f"unknown setting {name!r}; choose from {', '.join(known)}")
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in settings.items()}
    if plain.get("storage", "auto") not in ("auto", *BITS):
        raise ValueError(f"a memory's storage is one of auto, {', '.join(BITS)}, got {plain['storage']!r}")
    asked = {"patience": None} if plain.keys() & {"iterations", "seconds"} else {}
    config = config or CondenseConfig(**{**DEFAULTS, **asked, **plain})
    if config.device != "auto":
        resolve_device(config.device)
    check_network(config.network, LARGE)
    return config


def check_begun(memory: Any, **settings: Any) -> None:
    """ValueError unless this is a memory and no setting but its own is given beside it."""
    if not isinstance(memory, CondensedMemory):
        raise ValueError(f"memory must be a CondensedMemory, got a {type(memory).__name__}")
    usual = dict(kind="condensed", real_fraction=0.0, seed=0)
    others = {name for name, value in settings.items() if value != usual.get(name)}
    others -= {name for name in ("mem_size", "mem_bytes") if settings[name] == getattr(memory, name)}
    if others:
        raise ValueError(f"memory brings its own size and settings, got also {', '.join(sorted(others))}")


def check_network(name: str, image_shape: tuple[int, int, int]) -> None:
    """ValueError unless such a network can be built for such images."""
    try:
        with torch.device("meta"):
            build_network(name, image_shape, 1)
    except ValueError as error:
        raise ValueError(f"network {name!r}: {error}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        raise ValueError(f"network {name!r} cannot be built: {reason}") from error
