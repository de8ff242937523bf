"""Ctrl-C as a wish that a loop reads between its steps, when its state is whole."""

import signal
import sys
import threading

__all__ = ["Interrupts"]


class Interrupts:
    """While entered, Ctrl-C sets ``requested``; pressed again it stops at once, unless ``deaf`` is set."""

    def __init__(self):
        self.requested = False
        self.deaf = False

    def __enter__(self) -> "Interrupts":
        self._replaced = None
        if threading.current_thread() is threading.main_thread():
            self._replaced = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_) -> None:
        if self._replaced is not None:
            signal.signal(signal.SIGINT, self._replaced)

    def _note(self, *_) -> None:
        if self.requested and not self.deaf:
            raise KeyboardInterrupt
        if not self.requested:
            print("\nstopping after this iteration; Ctrl-C again stops at once", file=sys.stderr)
        self.requested = True
