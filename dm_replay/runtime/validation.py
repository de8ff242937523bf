"""Checks that several settings share."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

__all__ = ["check_choices", "check_memory_budget", "check_whole_numbers", "unwrap_numpy"]


def unwrap_numpy(config: Any) -> None:
    """Make NumPy numbers in a frozen dataclass plain ones, which can be compared, hashed and written as JSON."""
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(config, field.name, value.item())


def check_choices(config: object, **choices: Sequence[str]) -> None:
    """ValueError if a field of a configuration is none of its choices."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"unknown {name} {getattr(config, name)!r}; choose from {', '.join(known)}")


def check_whole_numbers(config: object, **least: int) -> None:
    """ValueError if a field of a configuration is no whole number, or below the least that it may be."""
    for name, low in least.items():
        value = getattr(config, name)
        if not isinstance(value, int) or value < low:
            raise ValueError(f"{name} must be a whole number of at least {low}, got {value}")


def check_memory_budget(gib: float) -> None:
    """ValueError unless these GiB are something that a machine can have."""
    if not 0 < gib < 2**40:
        raise ValueError(f"memory_budget must be above 0 GiB, got {gib}, and what a machine can have")
