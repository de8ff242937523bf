"""Losses, timings and the progress bar of a long run."""

import contextlib
import math
import statistics
import sys
import time
from collections.abc import Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from ..runtime.stages import StageBar

__all__ = ["LossLog", "progress_bar"]

STRETCH = 0.25  # seconds between two readings of the device


def progress_bar(title: str, total: int | None, done: int = 0, quiet: bool = False, unit: str = "it") -> tqdm:
    """A bar with rate and time left on stderr; in a log file, a line every half minute."""
    pause = 0.2 if sys.stderr.isatty() else 30
    return tqdm(desc=title, total=total, initial=done, unit=unit, disable=quiet, mininterval=pause, delay=1)


class LossLog:
    """Notes the loss of each iteration without waiting for it; reads them together, a few times a second.

    The time between two readings, divided by the iterations, is a sample of the seconds per iteration. The
    first sample of a process holds warm-up and compilation and counts only where there is no other.
    """

    def __init__(self, state: dict | None = None, quiet: bool = False):
        state = state or {"losses": torch.zeros(0), "samples": torch.zeros(0), "seconds": 0.0}
        self.losses: list[float] = state["losses"].tolist()
        self._samples: list[float] = state["samples"].tolist()
        self._warm_up: float | None = None
        self._earlier_seconds: float = state["seconds"]
        self._pending: list[Tensor] = []
        self.bar = StageBar("condensing", quiet)
        self._entered = self._read = self._saved = time.perf_counter()

    def __enter__(self) -> "LossLog":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    @property
    def seconds(self) -> float:
        """Spent on the run so far, in all its processes."""
        return self._earlier_seconds + time.perf_counter() - self._entered

    @property
    def seconds_since_saved(self) -> float:
        return time.perf_counter() - self._saved

    def note(self, loss: Tensor) -> None:
        """The loss of the next iteration, a 0-d tensor."""
        self._pending.append(loss)
        if time.perf_counter() - self._read >= STRETCH:
            self.catch_up()

    def catch_up(self) -> None:
        """Read the losses noted since the last reading."""
        if not self._pending:
            return
        self.losses += torch.stack(self._pending).tolist()
        if not math.isfinite(self.losses[-1]):
            raise ValueError(f"the loss became {self.losses[-1]} by iteration {len(self.losses)}: lower lr_img")
        now = time.perf_counter()
        sample = (now - self._read) / len(self._pending)
        if self._warm_up is None:
            self._warm_up = sample
        else:
            self._samples.append(sample)
        self.bar.note(f"iteration {len(self.losses)}, loss {self.losses[-1]:.4g}")
        self._pending, self._read = [], now

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """For work that is no iteration: up to date inside, and not timed."""
        self.catch_up()
        yield
        self._read = time.perf_counter()

    def saved(self) -> None:
        """The run was just saved."""
        self._saved = time.perf_counter()

    def state(self) -> dict:
        """What a later process needs to continue the loss_log."""
        losses, samples = (torch.tensor(values, dtype=torch.float64) for values in (self.losses, self._samples))
        return {"losses": losses, "samples": samples, "seconds": self.seconds}

    def summary(self) -> dict:
        """Plain data for the record of the run."""
        samples = self._samples or [self._warm_up or 0.0]
        timings = {"seconds_per_iteration": statistics.median(samples), "total_seconds": self.seconds}
        losses = [float(f"{loss:.6g}") for loss in self.losses]
        return {"iterations_done": len(losses), "timings": timings, "losses": losses}
