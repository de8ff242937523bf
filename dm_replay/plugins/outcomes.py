"""What strategies with several memories have learned of a stream: kept in a folder, as a table and as a picture."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from ..runtime.files import atomic

__all__ = ["Outcome", "Outcomes", "draw", "table"]


@dataclass(frozen=True)
class Outcome:
    """What a strategy with one memory has learned of a stream.

    Attributes:
        memory: its name. seed: of the network and of everything random.
        curve: accuracy in % after each experience, the mean over all that were trained so far.
        forgetting: in points, the mean over the experiences but the last; 0 of a single one.
        held: bytes of the memory's images at the end. seconds: of the whole run.
    """

    memory: str
    seed: int
    curve: list[float]
    forgetting: float
    held: int
    seconds: float


class Outcomes(dict[tuple[str, int], Outcome]):
    """Outcomes by memory and seed, in a folder if there is one: what is set is written at once.

    Args:
        about: what tells the stream from others, of values that JSON gives back as they are.

    Raises:
        ValueError: for a file in place of the folder, or a folder of another stream.
    """

    FILE, TABLE, PICTURE = "outcomes.json", "table.md", "accuracy.png"

    def __init__(self, folder: str | Path | None, about: dict[str, Any]):
        super().__init__()
        self.folder, self.about = None if folder is None else Path(folder), about
        if self.folder is None:
            return
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"{self.folder} is a file; expected a folder for outcomes, table and picture")
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / self.FILE
        if file.exists():
            self.update({(one.memory, one.seed): one for one in self._read(file)})

    def _read(self, file: Path) -> list[Outcome]:
        try:
            held = json.loads(file.read_text())
            about, outcomes = held["about"], [Outcome(**fields) for fields in held["outcomes"]]
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{file} is damaged, or no comparison: remove it to begin anew") from error
        if about != self.about:
            raise ValueError(f"{file} is of another stream, or of other bytes: give another folder")
        return outcomes

    def __setitem__(self, job: tuple[str, int], outcome: Outcome) -> None:
        super().__setitem__(job, outcome)
        if self.folder is not None:
            text = json.dumps({"about": self.about, "outcomes": [asdict(one) for one in self.values()]}, indent=1)
            with atomic(self.folder / self.FILE) as temporary:
                temporary.write_text(text)

    def show(self) -> list[Path]:
        """Write table and picture of all; the files."""
        if self.folder is None:
            return []
        with atomic(self.folder / self.TABLE) as temporary:
            temporary.write_text(table(self.values()) + "\n")
        draw(self.values(), self.folder / self.PICTURE)
        return [self.folder / self.TABLE, self.folder / self.PICTURE]


def _by_memory(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.memory, []).append(outcome)
    return found


def table(outcomes: Iterable[Outcome]) -> str:
    """Markdown: a row for each memory, means over the seeds but for the most bytes; ± is their standard deviation."""
    rows = [("memory", "bytes held", "accuracy at the end, %", "forgetting, points", "seconds")]
    rows.append(("---",) + ("---:",) * 4)
    for name, own in _by_memory(outcomes).items():
        final = [one.curve[-1] for one in own]
        spread = f" ± {pstdev(final):.1f}" if len(own) > 1 else ""
        lost, seconds = (mean(getattr(one, field) for one in own) for field in ("forgetting", "seconds"))
        held = max(one.held for one in own)
        rows.append((name, f"{held:,}", f"{mean(final):.1f}{spread}", f"{lost:.1f}", f"{seconds:.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in padded)


def draw(outcomes: Iterable[Outcome], out: Path, colors: Mapping[str, str] | None = None) -> None:
    """A picture of the accuracies after each experience: a line for each memory, thin ones for its seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, own in _by_memory(outcomes).items():
        curves = [one.curve for one in own]
        trained = range(1, len(curves[0]) + 1)
        (line,) = axes.plot(trained, [mean(v) for v in zip(*curves, strict=True)], marker="o", markersize=4, label=name)
        line.set_color((colors or {}).get(name, line.get_color()))
        for curve in curves if len(curves) > 1 else ():
            axes.plot(trained, curve, color=line.get_color(), alpha=0.25, linewidth=1)
    axes.set(xlabel="experiences trained", ylabel="accuracy on them, %", xticks=trained, ylim=(0, 102))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with atomic(out) as temporary:
        figure.savefig(temporary, dpi=150)
