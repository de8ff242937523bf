"""The files of a condensation run.

    RUN/condensed.pt        the result; a run is finished when it is there and checkpoint.pt is not
    RUN/run.json            settings, seed, versions, commit, device, losses, stored bytes, timings
    RUN/images/iter_*.png   snapshots
    RUN/checkpoint.pt       while the run is under way

Each is written whole or not at all, so that the run can be killed at any moment.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ..condensed.condensed_set import CondensedSet
from ..runtime.atomic_files import atomic, save_tensors

__all__ = ["RunFolder"]

CHECKPOINT = ("settings", "state", "loss_log")


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
        return sorted(self.images.glob("iter_*.png"))

    @property
    def finished(self) -> bool:
        return self.condensed.exists() and not self.checkpoint.exists()

    @property
    def begun(self) -> bool:
        return self.condensed.exists() or self.checkpoint.exists()

    def read_record(self) -> dict:
        """The content of run.json; {} where there is none."""
        if not self.record.exists():
            return {}
        try:
            return dict(json.loads(self.record.read_text()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{self.record} is not readable; begin anew with --overwrite") from error

    def write_record(self, record: dict) -> None:
        """One line for each entry, so that long lists of losses don't fill the screen."""
        lines = (f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in record.items())
        with atomic(self.record) as temporary:
            temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n")

    def read_checkpoint(self) -> dict | None:
        """What :meth:`write_checkpoint` was given last, by name; None where there is none."""
        if not self.checkpoint.exists():
            return None
        try:
            content = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            return {name: content[name] for name in CHECKPOINT}
        except Exception as error:
            raise ValueError(f"{self.checkpoint} is not readable; begin anew with --overwrite") from error

    def write_checkpoint(self, settings: dict, state: dict, loss_log: dict) -> None:
        save_tensors(dict(zip(CHECKPOINT, (settings, state, loss_log), strict=True)), self.checkpoint)

    def write_result(self, condensed: CondensedSet) -> None:
        condensed.save(self.condensed)

    def check_writable(self) -> None:
        """Raise ValueError if the folder cannot be made or written, without making it."""
        nearest = next(p for p in (self.path, *self.path.absolute().parents) if p.exists())
        if not nearest.is_dir():
            raise ValueError(f"{nearest} is a file; expected a folder to write the run to")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise ValueError(f"no permission to write in {nearest}")

    def clear(self) -> None:
        """Remove the files of a run, and nothing else."""
        for file in (self.checkpoint, self.condensed, self.record, *self.snapshots):
            file.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the temporary files that a killed process left."""
        for pattern in (".condensed-*.pt", ".checkpoint-*.pt", ".run-*.json", "images/.iter_*.png"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)
