"""Checks that several settings share, and labels as whole numbers."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "check_choices",
    "check_whole_numbers",
    "class_labels",
    "fraction",
    "whole_number",
]


def check_choices(config: object, **choices: Sequence[str]) -> None:
    """ValueError if a field of a configuration is none of its choices."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"unknown {name} {getattr(config, name)!r}; choose from {', '.join(known)}")


def check_whole_numbers(config: object, **least: int) -> None:
    """ValueError if a field of a configuration is no whole number, or below the least that it may be."""
    for name, low in least.items():
        whole_number(name, getattr(config, name), low)


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """``value`` as an int, NumPy's integers too; ValueError for anything else or less than ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} must be a whole number{bound}, got {value!r}")
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


EXACT = 2**53  # floats beyond it are no longer every whole number


def class_labels(labels: "Tensor | np.ndarray | Sequence[int]", where: object = "") -> Tensor:
    """Labels (N,) as int64 on the CPU, in memory of their own.

    Whole numbers of any type are taken; floats too where each of them is exactly whole, as some datasets keep them.

    Args:
        where: what the labels belong to (a file), for the error.

    Raises:
        ValueError: for a label that is negative, beyond int64 or not whole; it names the label and its image.
    """
    source = f"{where}: " if where else ""
    given = _as_tensor(labels, source)
    if given.dtype == torch.bool or given.dtype.is_complex:
        raise ValueError(f"{source}expected integer labels, got {_dtype(given)}")
    whole = given.long()
    if given.is_floating_point():
        fits = (given.double().abs() < EXACT) & (given == whole)
        _refuse(given, ~fits, source, "is not a whole number")
    _refuse(given, whole < 0, source, "is beyond int64" if given.dtype == torch.uint64 else "is negative")
    return whole.clone()


def _as_tensor(labels: "Tensor | np.ndarray | Sequence[int]", source: str) -> Tensor:
    try:
        if isinstance(labels, np.ndarray):
            native = np.float64 if labels.dtype.kind == "f" else labels.dtype.newbyteorder("=")
            return torch.from_numpy(labels.astype(native))
        return torch.as_tensor(labels).detach().cpu()
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        kind = labels.dtype if isinstance(labels, np.ndarray) else type(labels).__name__
        raise ValueError(f"{source}expected integer labels, got {kind} ({' '.join(str(error).split())})") from error


def _refuse(labels: Tensor, bad: Tensor, source: str, why: str) -> None:
    if bad.any():
        first = int(bad.flatten().nonzero()[0])
        value = labels.flatten()[first].item()
        label = f"{value:.6g}" if isinstance(value, float) else value
        raise ValueError(f"{source}label {label} of image {first} {why}; expected whole numbers from 0")


def _dtype(labels: Tensor) -> str:
    return str(labels.dtype).removeprefix("torch.")
