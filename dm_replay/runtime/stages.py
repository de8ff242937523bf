"""What long work says of itself as it goes on, and the bar that shows it."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TypeVar

from tqdm import tqdm

__all__ = ["StageBar", "Watch", "at", "counted", "mapped", "span", "watched_by"]

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


FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"


class StageBar:
    """A bar on stderr that a :data:`~dm_replay.runtime.stages.Watch` moves; in a log file, a line every half minute.

    The time left is that of the mean pace so far, since stages go at different ones.
    """

    def __init__(self, title: str, quiet: bool | None = False, leave: bool = True):
        self.live = sys.stderr.isatty()
        pauses = {"mininterval": 0.2, "delay": 0} if self.live else {"mininterval": 30, "delay": 1}
        how = {"bar_format": FORMAT, "smoothing": 0, "miniters": 0, "leave": leave, "disable": quiet, **pauses}
        self.bar = tqdm(desc=title, total=1.0, **how)
        self._stage: str | None = None

    @property
    def shown(self) -> bool:
        return not self.bar.disable

    def __call__(self, stage: str, part: float) -> None:
        """Parts that were over before the first call count as done by an earlier process."""
        if not self.shown:
            return
        if self._stage is None:
            self.bar.initial = self.bar.n = self.bar.last_print_n = part
        if stage != self._stage:
            self._stage = stage
            self.bar.set_description_str(stage, refresh=self.live)
        self.bar.update(max(0.0, min(part, 1.0) - self.bar.n))

    def note(self, text: str) -> None:
        """Shown behind the bar from its next move on."""
        self.bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        self.bar.close()
