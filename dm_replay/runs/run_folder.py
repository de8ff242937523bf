"""The files of a condensation run.

    RUN/condensed.pt        the result; a run is finished when run.json says so, and checkpoint.pt is no longer there
    RUN/run.json            settings, seed, versions, commit, device, losses, stored bytes, timings
    RUN/images/iter_*.png   snapshots
    RUN/checkpoint.pt       while the run is under way
    RUN/.lock               while a process works on it, see :func:`locked`

Each is written whole or not at all, so that the run can be killed at any moment.
"""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

from ..condensed.image_set import ImageSet
from ..runtime.files import atomic, load_sealed, save_sealed

__all__ = ["RunFolder"]

CHECKPOINT = ("settings", "state", "loss_log")
FOREIGN = "is not a record of dm-replay; move it away, or choose another --out"


class _Damaged(ValueError):
    """What stands in a file cannot be read."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, which need not exist yet."""

    path: Path

    @property
    def condensed(self) -> Path:
        return self.path / "condensed.pt"

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def images(self) -> Path:
        return self.path / "images"

    @property
    def snapshots(self) -> list[Path]:
        return sorted(self.images.glob("iter_[0-9]*.png"))

    @property
    def finished(self) -> bool:
        there = self.condensed.exists() and not self.checkpoint.exists()
        return there and self.read_record().get("status") == "finished"

    @property
    def begun(self) -> bool:
        return self.condensed.exists() or self.checkpoint.exists()

    def read_record(self) -> dict:
        """The content of run.json; {} where there is none.

        Raises:
            ValueError: if it is damaged, or of another program.
        """
        if not self.record.exists():
            return {}
        try:
            record = json.loads(self.record.read_text())
        except ValueError as error:
            raise _Damaged(f"{self.record} is not readable; begin anew with --overwrite") from error
        if not _is_ours(record):
            raise ValueError(f"{self.record} {FOREIGN}")
        return record

    def check_record(self) -> None:
        """ValueError if run.json is of another program, which is never overwritten; damaged, it may be a run's own."""
        try:
            self.read_record()
        except _Damaged as error:
            if not self.begun:
                raise ValueError(f"{self.record} {FOREIGN}") from error

    def begun_with(self) -> dict:
        """The settings of the run here, of its checkpoint where run.json is missing; {} where there is no run."""
        if self.record.exists():
            return self.read_record()["settings"]
        checkpoint = self.read_checkpoint()
        return checkpoint["settings"] if checkpoint else {}

    def write_record(self, record: dict) -> None:
        with atomic(self.record) as temporary:
            temporary.write_text(_as_text(record))

    def read_checkpoint(self) -> dict | None:
        """What :meth:`write_checkpoint` was given last, by name; None where there is none."""
        if not self.checkpoint.exists():
            return None
        try:
            content = load_sealed(self.checkpoint)
            checkpoint = {name: content[name] for name in CHECKPOINT}
            _check_checkpoint(**checkpoint)
            return checkpoint
        except Exception as error:
            raise ValueError(f"{self.checkpoint} is not readable; begin anew with --overwrite") from error

    def write_checkpoint(self, settings: dict, state: dict, loss_log: dict) -> None:
        save_sealed(dict(zip(CHECKPOINT, (settings, state, loss_log), strict=True)), self.checkpoint)

    def write_result(self, condensed: ImageSet, record: dict) -> None:
        """Both or, on a full disk, neither: the record takes its place when the result is there."""
        with atomic(self.record) as temporary:
            temporary.write_text(_as_text(record))
            condensed.save(self.condensed)

    def check_writable(self) -> None:
        """Raise ValueError if the folder cannot be made or written, without making it."""
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise ValueError(f"{nearest} is a file; expected a folder to write the run to")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ValueError(f"no permission to write in {nearest}")

    def clear(self) -> None:
        """Remove the files of a run, and nothing else; its record last, which tells that the others are a run's."""
        if not self.begun and not self.record.exists():
            return
        for file in (self.checkpoint, self.condensed, *self.snapshots, self.record):
            file.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the temporary files that a killed process left."""
        for pattern in (".condensed-*.pt", ".checkpoint-*.pt", ".run-*.json", "images/.iter_*.png"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)


def _as_text(record: dict) -> str:
    """One line for each entry, so that long lists of losses don't fill the screen."""
    lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in record.items())
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _is_ours(record: object) -> bool:
    if not isinstance(record, dict):
        return False
    settings, versions = record.get("settings"), record.get("versions")
    return isinstance(settings, dict) and isinstance(versions, dict) and "dm_replay" in versions


def _check_checkpoint(settings: dict, state: dict, loss_log: dict) -> None:
    """An error of any kind unless the parts are what they were when they were written."""
    losses, samples = loss_log["losses"], loss_log["samples"]
    iteration, averaged = state["iteration"], state["averaged"]
    if type(settings["iterations"]) is not int or type(iteration) is not int or type(averaged) is not int:
        raise ValueError("no number of iterations")
    if not 0 < iteration == len(losses) or not 0 <= averaged <= iteration or not losses.ndim == samples.ndim == 1:
        raise ValueError("no loss of each iteration")
    seconds = loss_log["seconds"], state.get("seconds", 0.0)
    if not all(type(value) is float and 0 <= value < math.inf for value in seconds):
        raise ValueError("no number of seconds")
    pixels = [state[name] for name in ("pixels", "velocity", *(("total",) if averaged else ()))]
    steering = [state[name] for name in ("allowed", "price", "metric", "pull") if name in state]
    for tensor in (losses, samples, *pixels, *steering):
        if not tensor.is_floating_point() or tensor.is_sparse or not tensor.isfinite().all():
            raise ValueError("values that are not finite")
    if any(tensor.shape != pixels[0].shape for tensor in pixels):
        raise ValueError("tensors of several shapes")
