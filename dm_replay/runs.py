"""Condensing in a folder: with a record, snapshots and checkpoints, so that a stopped run can go on."""

from dataclasses import asdict, dataclass
from pathlib import Path

from .condensation import CondenseConfig, Progress, condense
from .condensed import CondensedSet
from .datasets import Dataset
from .engine import resolve_device
from .interrupts import Interrupts
from .journal import Journal
from .pictures import grid, save_picture
from .provenance import provenance
from .run_folder import RunFolder

__all__ = ["Interrupted", "condense_run"]


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
    snapshots: int = 10,
    checkpoint_seconds: float = 60.0,
    quiet: bool = False,
) -> CondensedSet:
    """Condense a dataset's training images in the folder ``out``, as :class:`RunFolder` describes it.

    Nothing is written before the first iteration has gone well.

    Args:
        resume: go on from the checkpoint in ``out``, to the same pixels as an uninterrupted run; begin where
            there is none, and return the result where the run is finished.
        overwrite: begin anew where ``out`` holds a run.
        snapshots: pictures to write on the way, beside one after the first iteration; 0 for none.
        checkpoint_seconds: between checkpoints. Ctrl-C writes one, too, and raises :class:`Interrupted`.
        quiet: no progress bar.
    """
    config, folder = config or CondenseConfig(), RunFolder(Path(out))
    folder.check_writable()
    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    settings = _settings(dataset, config, seed)
    checkpoint = None if overwrite else _begun(folder, settings, resume)
    if resume and folder.finished:
        return CondensedSet.load(folder.condensed)
    journal = Journal(config.iterations, checkpoint and checkpoint["journal"], quiet)
    with Interrupts() as interrupts, journal:
        keeper = _Keeper(folder, settings, journal, interrupts, snapshots, checkpoint_seconds, checkpoint is None)
        state = checkpoint and checkpoint["state"]
        condensed = condense(dataset.train, config, seed=seed, on_step=keeper, state=state)
        condensed = condensed.with_meta(dataset=dataset.spec.name)
        keeper.finish(condensed)
    return condensed


@dataclass
class _Keeper:
    """Writes a run's files while it is condensed."""

    folder: RunFolder
    settings: dict
    journal: Journal
    interrupts: Interrupts
    snapshots: int
    checkpoint_seconds: float
    fresh: bool
    begun: bool = False

    def __post_init__(self):
        self.origin = provenance(resolve_device(self.settings["device"]))
        self.moments = _moments(self.settings["iterations"], self.snapshots)

    def __call__(self, step: Progress) -> None:
        self.journal.note(step.loss)
        if not self.begun:
            self._begin()
        if step.iteration in self.moments:
            with self.journal.paused():
                save_picture(grid(step.as_set()), self.folder.images / f"iter_{step.iteration:06d}.png")
        if self.interrupts.requested:
            self._stop(step)
        if self.journal.seconds_since_saved >= self.checkpoint_seconds and step.iteration < step.iterations:
            self._save(step)

    def finish(self, condensed: CondensedSet) -> None:
        """The result goes last: where it is, the record is complete."""
        self.journal.catch_up()
        self._record("finished", images=len(condensed), stored_bytes=condensed.nbytes)
        self.folder.write_result(condensed)
        self.folder.checkpoint.unlink(missing_ok=True)

    def _begin(self) -> None:
        self.folder.images.mkdir(parents=True, exist_ok=True)
        self.folder.sweep()
        if self.fresh:
            self.folder.clear()
        self._record("running")
        self.begun = True

    def _stop(self, step: Progress) -> None:
        self.interrupts.deaf = True
        self._save(step)
        self._record("interrupted")
        raise Interrupted(f"stopped after iteration {step.iteration} of {step.iterations}")

    def _save(self, step: Progress) -> None:
        with self.journal.paused():
            self.folder.write_checkpoint(self.settings, step.state, self.journal.state())
        self.journal.saved()

    def _record(self, status: str, **result: int) -> None:
        self.folder.write_record(
            {"status": status, "settings": self.settings, **self.origin, **result, **self.journal.summary()}
        )


def _moments(iterations: int, snapshots: int) -> set[int]:
    """The first iteration and ``snapshots`` evenly spaced ones, the last among them."""
    return {1, *(-(-iterations * k // snapshots) for k in range(1, snapshots + 1))} if snapshots else set()


def _settings(dataset: Dataset, config: CondenseConfig, seed: int) -> dict:
    """What decides the pixels, as plain data."""
    pool = dataset.train
    data = {"real_images": len(pool), "classes": len(pool.classes), "image_shape": list(pool.shape)}
    return {"dataset": dataset.spec.name, **data, "seed": seed, **asdict(config)}


def _begun(folder: RunFolder, settings: dict, resume: bool) -> dict | None:
    """The checkpoint to go on from, None where there is none; ValueError unless it is of the same run."""
    if not folder.begun:
        return None
    if not resume:
        kind = "a finished run" if folder.finished else "an unfinished run"
        raise ValueError(f"{folder.path} holds {kind}; go on with --resume or begin anew with --overwrite")
    checkpoint = folder.read_checkpoint()
    begun_with = (checkpoint or folder.read_record()).get("settings", {})
    for name, value in settings.items():
        if begun_with.get(name) != value:
            raise ValueError(
                f"cannot resume {folder.path} with {name} {value}: it was begun with {begun_with.get(name)}"
            )
    return checkpoint
