"""What long work says of itself as it goes on, the bar that shows it, and the wish to stop it."""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from tqdm import tqdm

__all__ = ["Interrupts", "StageBar", "Watch", "at", "counted", "mapped", "progress_bar", "span", "watched_by"]

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


def progress_bar(title: str, total: int | None, done: int = 0, quiet: bool = False, unit: str = "it") -> tqdm:
    """A bar with rate and time left on stderr; in a log file, a line every half minute."""
    pause = 0.2 if sys.stderr.isatty() else 30
    return tqdm(desc=title, total=total, initial=done, unit=unit, disable=quiet, mininterval=pause, delay=1)


class Interrupts:
    """Ctrl-C as a wish that is read between iterations, when the state is whole; pressed again it stops at once.

    Before the first iteration it stops at once, too; while ``deaf`` never. Of several processes each hears it once and
    without a word, since the launcher repeats it, and SIGTERM likewise, by which it ends the others when one has died.
    """

    def __init__(self, many: bool):
        self.many = many
        self.requested = self.deaf = False
        self.preparing = True
        self._replaced: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT, signal.SIGTERM) if self.many else (signal.SIGINT,)
            self._replaced = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._replaced.items():
            signal.signal(number, handler)

    def _note(self, *_) -> None:
        if not self.many:
            if self.preparing:
                raise KeyboardInterrupt("stopped before the first iteration")
            if self.requested and not self.deaf:
                raise KeyboardInterrupt
            if not self.requested:
                print("\nstopping after this iteration; Ctrl-C again stops at once", file=sys.stderr)
        self.requested = True
