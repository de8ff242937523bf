"""What a setting has to be."""

import operator
from typing import Any

__all__ = ["whole_number"]


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """``value`` as an int, NumPy's integers too; ValueError for anything else or less than ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number
