"""What long work says of itself as it goes on: the stage that it is at, and the part of all of it that is over."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

__all__ = ["Watch", "at", "counted", "mapped", "span", "watched_by"]

Watch = Callable[[str, float], None]
Thing = TypeVar("Thing")

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


def at(stage: str, part: float) -> None:
    """Tell who watches, if anyone does, that this part of the work is over, in [0, 1]."""
    watch = _watch.get()
    if watch is not None:
        watch(stage, part)


def counted(stage: str, things: Iterable[Thing], total: int) -> Iterator[Thing]:
    """The same things, with the part that is over told before each and after the last."""
    for number, thing in enumerate(things):
        at(stage, number / total)
        yield thing
    at(stage, 1.0)


@contextmanager
def watched_by(watch: Watch | None) -> Iterator[None]:
    """What is done inside is told to ``watch``.

    >>> from dm_replay.runtime.stages import at, span, watched_by
    >>> with watched_by(print), span(0.5, 1.0):
    ...     at("second half", 0.5)
    second half 0.75
    """
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def mapped(whole: Callable[[float], float]) -> AbstractContextManager[None]:
    """What is done inside is the part ``whole`` of it of what is done outside."""
    outer = _watch.get()
    return watched_by(None if outer is None else lambda stage, part: outer(stage, whole(part)))


def span(begin: float, end: float) -> AbstractContextManager[None]:
    """What is done inside is what lies between two parts of what is done outside."""
    return mapped(lambda part: begin + (end - begin) * part)
