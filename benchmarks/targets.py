"""What others published, from targets.csv, whence tables and scripts take it."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

__all__ = ["Target", "published", "targets"]

FILE = Path(__file__).with_name("targets.csv")


class Target(NamedTuple):
    """A published figure.

    Attributes:
        table: of which protocol. ipc: images a class; of streams, raw images in the memory. steps: of a stream.
        mean, std: in percent, but for correlations. verified: whether it was checked against the printed paper.
    """

    table: str
    dataset: str
    ipc: int | None
    method: str
    network: str
    steps: int | None
    mean: float
    std: float | None
    verified: bool
    source: str

    def __str__(self) -> str:
        digits = 2 if self.table == "nas correlation" else 1
        spread = "" if self.std is None else f" ± {self.std:.{digits}f}"
        return f"{self.mean:.{digits}f}{spread}" + ("" if self.verified else " (unverified)")


@functools.cache
def targets() -> tuple[Target, ...]:
    with FILE.open(newline="") as file:
        return tuple(_target(row) for row in csv.DictReader(file))


def published(table: str, **wanted) -> Target | None:
    """The first figure of a table whose fields are as wanted."""
    fits = (t for t in targets() if t.table == table and all(getattr(t, name) == wanted[name] for name in wanted))
    return next(fits, None)


def _target(row: dict[str, str]) -> Target:
    numbers = {name: int(row[name]) if row[name] else None for name in ("ipc", "steps")}
    values = {"mean": float(row["mean"]), "std": float(row["std"]) if row["std"] else None}
    return Target(**{**row, **numbers, **values, "verified": row["verified"] == "yes"})  # type: ignore[arg-type]
