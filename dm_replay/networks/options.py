"""Values that a network's options can have."""

from collections.abc import Collection
from numbers import Integral

__all__ = ["check_option"]

WIDEST = 65_536


def check_option(name: str, value: int | str, choices: Collection[str] | None) -> None:
    """ValueError for a value that is none of the choices, or where there are none no whole number from 1."""
    if choices is not None and value not in choices:
        raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(sorted(choices))}")
    if choices is None and not (isinstance(value, Integral) and 1 <= value <= WIDEST):
        raise ValueError(f"{name} must be a whole number from 1 to {WIDEST}, got {value}")
