"""What a run notes as it goes on: losses and timings, snapshots and checkpoints, and the wish to stop."""

import contextlib
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..condensed.export import grid, save_picture
from ..condensed.image_set import ImageSet
from ..matching.progress import Progress
from ..runtime.distributed import World
from ..runtime.engine import resolve_device
from ..runtime.hardware import provenance
from ..runtime.self_check import engine_record
from ..runtime.stages import Interrupts, StageBar
from .run_folder import RunFolder

__all__ = ["Interrupted", "LossLog", "RunRecorder", "united"]

STRETCH = 0.25  # seconds between two readings of the device
SECONDS_BETWEEN_SYNCS = 0.5  # seconds that processes work alone; one costs about 0.1 ms and the wait for the slowest


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C, and its checkpoint written."""


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
        self._entered = self._read = time.perf_counter()

    def __enter__(self) -> "LossLog":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    @property
    def seconds(self) -> float:
        """Spent on the run so far, in all its processes."""
        return self._earlier_seconds + time.perf_counter() - self._entered

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

    def state(self) -> dict:
        """What a later process needs to go on."""
        losses, samples = (torch.tensor(values, dtype=torch.float64) for values in (self.losses, self._samples))
        return {"losses": losses, "samples": samples, "seconds": self.seconds}

    def summary(self) -> dict:
        """Plain data for the record of the run."""
        samples = self._samples or [self._warm_up or 0.0]
        timings = {"seconds_per_iteration": statistics.median(samples), "total_seconds": self.seconds}
        losses = [float(f"{loss:.6g}") for loss in self.losses]
        return {"iterations_done": len(losses), "timings": timings, "losses": losses}


@dataclass
class RunRecorder:
    """Writes a run's files while it is condensed. Of several processes only the first writes.

    The processes work alone between two synchronizations, in which they agree whether to stop, to save, and when to do
    so next.
    """

    folder: RunFolder
    settings: dict
    loss_log: LossLog
    signals: Interrupts
    world: World
    checkpoint_seconds: float
    fresh: bool
    begun: bool = False
    last_sync: int = 0
    next_sync: int = 0

    def __post_init__(self):
        self.origin = provenance(resolve_device(self.settings["device"]))
        self.snapshot_iterations = _snapshot_iterations(self.settings["iterations"], self.settings["snapshots"])
        self.snapshots_taken = 0
        self.last_sync_at = self.saved_at = time.perf_counter()

    def __call__(self, step: Progress) -> None:
        self.loss_log.note(step.loss)
        if not self.begun:
            self.signals.preparing = False
            self.last_sync = step.iteration - 1
            self.origin["engine"] = engine_record(step.engine)
            self._begin()
        if self._snapshot_due(step):
            self._picture(step)
        if step.iteration >= self.next_sync:
            self._synchronize(step)

    def finish(self, condensed: ImageSet) -> None:
        self._unite_losses()
        about = {"images": len(condensed), "decoded_images": condensed.decoded, "stored_bytes": condensed.nbytes}
        if self.world.main:
            self.folder.write_result(condensed, self._record_of("finished", **about))
            self.folder.checkpoint.unlink(missing_ok=True)

    def _begin(self) -> None:
        self.begun = True
        self.world.barrier()  # all have read what the folder held
        if not self.world.main:
            return
        self.folder.images.mkdir(parents=True, exist_ok=True)
        self.folder.sweep()
        if self.fresh:
            self.folder.clear()
        self._record("running")

    def _snapshot_due(self, step: Progress) -> bool:
        """At even steps of the iterations, or of the clock in a run that is bounded by it."""
        if self.settings["seconds"] is None:
            return step.iteration in self.snapshot_iterations
        reached = 1 + int(step.part * self.settings["snapshots"]) if self.settings["snapshots"] else 0
        due, self.snapshots_taken = reached > self.snapshots_taken, max(reached, self.snapshots_taken)
        return due

    def _picture(self, step: Progress) -> None:
        with self.loss_log.paused():
            condensed = united(step.as_set(), self.world)
            if self.world.main:
                save_picture(grid(condensed), self.folder.images / f"iter_{step.iteration:06d}.png")

    def _synchronize(self, step: Progress) -> None:
        due = time.perf_counter() - self.saved_at >= self.checkpoint_seconds and step.part < 1
        plan = (due, self._next_sync_after(step.iteration)) if self.world.main else (0, 0)
        stop, save, self.next_sync = self.world.all_reduce_max(self.signals.requested, *plan)
        self.last_sync, self.last_sync_at = step.iteration, time.perf_counter()
        if stop:
            self._stop(step)
        if save:
            self._save(step)

    def _next_sync_after(self, iteration: int) -> int:
        """One process alone does so after every iteration."""
        if self.world.size == 1:
            return iteration + 1
        pace = (time.perf_counter() - self.last_sync_at) / max(1, iteration - self.last_sync)  # seconds per iteration
        return min(iteration + max(1, int(SECONDS_BETWEEN_SYNCS / pace)), self.settings["iterations"])

    def _stop(self, step: Progress) -> None:
        self.signals.deaf = True
        self._save(step)
        self._record("interrupted")
        seconds = self.settings["seconds"]
        reached = f" of {step.iterations}" if seconds is None else f", {100 * step.part:.0f} % of {seconds:g} seconds"
        raise Interrupted(f"stopped after iteration {step.iteration}{reached}")

    def _save(self, step: Progress) -> None:
        with self.loss_log.paused():
            self._unite_losses()
            gather, state = self.world.gather, step.state.items()
            united_state = {name: gather(part) if isinstance(part, Tensor) else part for name, part in state}
            if self.world.main:
                self.folder.write_checkpoint(self.settings, united_state, self.loss_log.state())
        self.saved_at = time.perf_counter()

    def _unite_losses(self) -> None:
        """The loss_log's losses, which are means over this process's classes, become those over all classes.

        Repeating it changes nothing, since the weights of all processes sum to 1.
        """
        self.loss_log.catch_up()
        shard = self.world.shard(self.settings["classes"])
        weight = (shard.stop - shard.start) / self.settings["classes"]
        own = torch.tensor(self.loss_log.losses, dtype=torch.float64)
        self.loss_log.losses[:] = self.world.all_reduce_sum(own * weight).tolist()

    def _record(self, status: str) -> None:
        if self.world.main:
            self.folder.write_record(self._record_of(status))

    def _record_of(self, status: str, **result: int) -> dict:
        about = {**self.origin, **({"processes": self.world.size} if self.world.size > 1 else {})}
        summary = self.loss_log.summary()
        updates = summary["iterations_done"] * self.settings["inner_steps"]
        return {"status": status, "settings": self.settings, **about, **result, "updates_done": updates, **summary}


def united(condensed: ImageSet, world: World) -> ImageSet:
    """The shards of all processes as one set, on the first; elsewhere this one's."""
    stored = {name: world.gather(part) for name, part in condensed.stored.fields().items()}
    labels, counts = world.gather(condensed.labels), world.gather(condensed.counts)
    return replace(condensed, stored=condensed.codec.stored_of(stored, condensed.shape), labels=labels, counts=counts)


def _snapshot_iterations(iterations: int, snapshots: int) -> set[int]:
    """The first iteration and ``snapshots`` evenly spaced ones, the last among them."""
    snapshots = min(snapshots, iterations)
    return {1, *(-(-iterations * k // snapshots) for k in range(1, snapshots + 1))} if snapshots else set()
