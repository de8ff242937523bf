"""Condensing in a folder: with a record, snapshots and checkpoints, so that a stopped run can go on."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..condensed.condensed_set import CondensedSet
from ..condensed.figures import grid, save_picture
from ..data.registry import Dataset
from ..matching.condense import Progress, condense
from ..matching.config import CondenseConfig
from ..runtime.distributed import Peers, World, joined
from ..runtime.engine import resolve_device
from ..runtime.hardware import provenance
from ..runtime.interrupts import Interrupts
from ..runtime.self_check import engine_record
from ..runtime.stages import watched_by
from .loss_log import LossLog
from .resuming import check_out, checkpoint_to_resume, settings_of, snapshots_to_take
from .run_folder import RunFolder
from .run_lock import locked

__all__ = ["Interrupted", "condense_run"]

SECONDS_BETWEEN_SYNCS = 0.5  # seconds that processes work alone; one costs about 0.1 ms and the wait for the slowest


class Interrupted(KeyboardInterrupt):
    """A run was stopped by Ctrl-C, and its checkpoint written."""


def condense_run(
    out: str | Path,
    dataset: Dataset,
    config: CondenseConfig | None = None,
    *,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    snapshots: int | None = None,
    checkpoint_seconds: float = 60.0,
    quiet: bool = False,
) -> CondensedSet:
    """Condense a dataset's training images in the folder ``out``, as :class:`RunFolder` describes it.

    The folder is locked meanwhile, and nothing else is written before the first iteration has gone well. Started
    several times by ``torchrun``, each process condenses its shard of the classes, the first one alone writes and
    shows, and the files, checkpoints too, are those of a single process; so a stopped run can go on with any number of
    them.

    Args:
        seed: of everything random.
        resume: go on from the checkpoint in ``out``, to the same pixels as an uninterrupted run; begin where
            there is none, and return the result where the run is finished.
        overwrite: begin anew where ``out`` holds a run.
        snapshots: pictures to write on the way, beside one after the first iteration; 0 for none. By default 10, or
            what a resumed run was begun with.
        checkpoint_seconds: seconds between checkpoints; Ctrl-C writes one, too.
        quiet: no progress bar.

    Returns:
        The condensed set; on other processes than the first, their shard of it.

    Raises:
        Interrupted: after Ctrl-C, when the checkpoint is written.
        RankLost: if another process of the run has died. The run can go on from its last checkpoint.
        ValueError: if settings, data or what ``out`` holds are unfit, or another process is at work there.
    """
    config = (config or CondenseConfig()).resolve(dataset.train.flip_invariant).sized(dataset.train.shape)
    folder = RunFolder(Path(out))
    check_out(folder, resume, overwrite)
    if not checkpoint_seconds >= 0:
        raise ValueError(f"checkpoint_seconds must be at least 0, got {checkpoint_seconds}")
    settings = settings_of(dataset, config, seed)
    with joined() as world, _locked(folder, world):
        if config.limit is not None and world.size > 1:
            raise ValueError("seconds and patience bound a single process, since clocks differ: give iterations")
        checkpoint = None if overwrite else checkpoint_to_resume(folder, settings, resume)
        if resume and folder.finished:
            return CondensedSet.load(folder.condensed)
        settings["snapshots"] = snapshots_to_take(snapshots, folder, resume)
        shard = world.shard(settings["classes"])
        loss_log = LossLog(checkpoint and checkpoint["loss_log"], quiet or not world.main)
        with _Signals(world) as signals, loss_log, watched_by(loss_log.bar):
            recorder = RunRecorder(folder, settings, loss_log, signals, world, checkpoint_seconds, checkpoint is None)
            state = checkpoint and _part(checkpoint["state"], shard)
            about: dict[str, Any] = dict(seed=seed, on_step=recorder, state=state, shard=shard, peers=Peers(world))
            condensed = condense(dataset.train, config, **about)
            condensed = _united(condensed, world).with_meta(dataset=dataset.spec.name)
            recorder.finish(condensed)
    return condensed


@dataclass
class RunRecorder:
    """Writes a run's files while it is condensed. Of several processes only the first writes.

    The processes work alone between two synchronizations, in which they agree whether to stop, to save, and when to do
    so next.
    """

    folder: RunFolder
    settings: dict
    loss_log: LossLog
    signals: "_Signals"
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
        self.last_sync_at = time.perf_counter()

    def __call__(self, step: Progress) -> None:
        self.loss_log.note(step.loss)
        if not self.begun:
            self.signals.preparing = False
            self.last_sync = step.iteration - 1
            self.origin["engine"] = engine_record(step.matcher.engine)
            self._begin()
        if self._snapshot_due(step):
            self._picture(step)
        if step.iteration >= self.next_sync:
            self._synchronize(step)

    def finish(self, condensed: CondensedSet) -> None:
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
            condensed = _united(step.as_set(), self.world)
            if self.world.main:
                save_picture(grid(condensed), self.folder.images / f"iter_{step.iteration:06d}.png")

    def _synchronize(self, step: Progress) -> None:
        due = self.loss_log.seconds_since_saved >= self.checkpoint_seconds and step.part < 1
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
            state = _united_state(step.state, self.world)
            if self.world.main:
                self.folder.write_checkpoint(self.settings, state, self.loss_log.state())
        self.loss_log.saved()

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


@contextlib.contextmanager
def _locked(folder: RunFolder, world: World) -> Iterator[None]:
    """The first process holds the folder for all; ValueError in each if it cannot."""
    with contextlib.ExitStack() as held:
        refused: Exception | None = None
        try:
            if world.main:
                held.enter_context(locked(folder.path))
        except (ValueError, OSError) as error:
            refused = error
        if any(world.all_reduce_max(refused is not None)):
            raise refused or ValueError(f"the first process cannot work in {folder.path}")
        yield


class _Signals(Interrupts):
    """Of several processes: heard once and without a word, since the launcher repeats a Ctrl-C, and SIGTERM likewise,
    by which it ends the others when one has died."""

    def __init__(self, world: World):
        super().__init__()
        self.many = world.size > 1
        self.preparing = True

    def __enter__(self) -> "_Signals":
        super().__enter__()
        self._term = None
        if self.many and threading.current_thread() is threading.main_thread():
            self._term = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_) -> None:
        super().__exit__()
        if self._term is not None:
            signal.signal(signal.SIGTERM, self._term)

    def _note(self, *_) -> None:
        if self.many:
            self.requested = True
        elif self.preparing:
            raise KeyboardInterrupt("stopped before the first iteration")
        else:
            super()._note()


def _united(condensed: CondensedSet, world: World) -> CondensedSet:
    """The shards of all processes as one set, on the first; elsewhere this one's."""
    names = ("pixels", "labels", "counts", "scale", "offset")
    parts = {name: getattr(condensed, name) for name in names}
    united: dict[str, Any] = {name: world.gather(part) for name, part in parts.items() if part is not None}
    return replace(condensed, **united)


def _united_state(state: dict[str, Any], world: World) -> dict[str, Any]:
    return {name: world.gather(value) if isinstance(value, Tensor) else value for name, value in state.items()}


def _part(state: dict[str, Tensor | int], shard: slice) -> dict[str, Tensor | int]:
    """A shard of the classes of a :attr:`Progress.state`."""
    return {name: value[shard] if isinstance(value, Tensor) else value for name, value in state.items()}


def _snapshot_iterations(iterations: int, snapshots: int) -> set[int]:
    """The first iteration and ``snapshots`` evenly spaced ones, the last among them."""
    snapshots = min(snapshots, iterations)
    return {1, *(-(-iterations * k // snapshots) for k in range(1, snapshots + 1))} if snapshots else set()
