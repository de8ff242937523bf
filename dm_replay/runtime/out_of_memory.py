"""Less at a time where memory does not suffice."""

import gc
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from .engine import Engine

__all__ = ["halving", "is_out_of_memory", "within_memory"]

# Of accelerators without an error class of their own, and of the CPU's allocator.
SIGNS = ("out of memory", "DefaultCPUAllocator")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that an allocation failed, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


Size = TypeVar("Size")
Result = TypeVar("Result")


def within_memory(engine: Engine, images: int, work: Callable[[Engine], Result]) -> tuple[Engine, Result]:
    """``work(engine)``, tried again with half the images at a time, down to one, until memory suffices.

    Args:
        images: the most that the work has at a time, whatever the engine allows.

    Returns:
        The engine that did it, and what the work gave. One warning if it is not the one given.
    """
    fitting, result = _shrunk(engine, lambda larger: _halved(larger, images), work)
    if fitting != engine:
        _warn(engine.device, f"{min(engine.chunk, images)} images", fitting.chunk)
    return fitting, result


def halving(
    count: int, work: Callable[[int], Result], device: torch.device, things: str = "networks"
) -> tuple[int, Result]:
    """``work(count)``, likewise tried again with half as many ``things`` at a time."""
    fitting, result = _shrunk(count, lambda larger: max(1, larger // 2), work)
    if fitting != count:
        _warn(device, f"{count} {things}", fitting)
    return fitting, result


def _shrunk(size: Size, smaller: Callable[[Size], Size], work: Callable[[Size], Result]) -> tuple[Size, Result]:
    while True:
        try:
            return size, work(size)
        except Exception as error:
            next_size = smaller(size)
            if not is_out_of_memory(error) or next_size == size:
                raise
        size = next_size
        _release()  # here the frames that the exception held are gone


def _halved(engine: Engine, images: int) -> Engine:
    chunk, gradient_chunk = (max(1, min(most, images) // 2) for most in (engine.chunk, engine.gradient_chunk))
    return replace(engine, chunk=chunk, gradient_chunk=gradient_chunk)


def _release() -> None:
    """Give back what a failed attempt held; else the allocator keeps it in pieces that may be too small."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def _warn(device: torch.device, wanted: str, taken: int) -> None:
    warnings.warn(f"{device} has too little memory for {wanted} at a time: it takes {taken}", stacklevel=4)
