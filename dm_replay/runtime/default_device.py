"""Where tensors lie that are made without a device: on the CPU, whatever the user's default is."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["cpu_by_default"]

T = TypeVar("T", bound=Callable)


def cpu_by_default(made: T) -> T:
    """A function, or a class with its methods, as it is without ``torch.set_default_device``.

    >>> import torch
    >>> from dm_replay.runtime.default_device import cpu_by_default
    >>> with torch.device("meta"):
    ...     cpu_by_default(torch.zeros)(1).device, torch.zeros(1).device
    (device(type='cpu'), device(type='meta'))
    """
    if not isinstance(made, type):
        return _on_cpu(made)
    for name, value in vars(made).items():
        wrapped = _wrapped(value)
        if wrapped is not None:
            setattr(made, name, wrapped)
    return made


def _wrapped(value: Any) -> Any:
    """A method, or what stands for one, on the CPU; None for anything else."""
    if isinstance(value, classmethod | staticmethod):
        return type(value)(_on_cpu(value.__func__))
    if isinstance(value, property):
        return property(value.fget and _on_cpu(value.fget), value.fset and _on_cpu(value.fset), None, value.__doc__)
    return _on_cpu(value) if callable(value) and not isinstance(value, type) else None


def _on_cpu(function: Any) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if torch.get_default_device().type == "cpu":  # a device as a context costs a call for each of torch's functions
            return function(*args, **kwargs)
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return run
