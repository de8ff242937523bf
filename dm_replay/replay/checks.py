"""What a setting has to be."""

import math
import operator
from typing import Any

__all__ = ["fraction", "whole_number"]


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """``value`` as an int, NumPy's integers too; ValueError for anything else or less than ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if least is not None and number < least:
        raise ValueError(f"{name} must be at least {least}, got {number}")
    return number


def fraction(name: str, value: Any) -> float:
    """``value`` as a float from 0 to 1; ValueError for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    return number
