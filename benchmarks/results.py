"""Results as lines: benchmarks/results/NAME.jsonl holds a measurement a line, a row of plain values; pandas reads it.

One schema serves all: a column means the same in every file, and a row has those that apply to it. Nested settings are
columns with dots, like ``config.lr_img``. Lines are only ever added; where a figure is measured again, the last counts.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, pstdev

import pandas as pd
from filelock import FileLock

from dm_replay.runtime.engine import resolve_device
from dm_replay.runtime.files import atomic
from dm_replay.runtime.hardware import provenance

__all__ = ["COLUMNS", "GROUPS", "RESULTS", "append", "command", "draw_panels", "latest", "lines"]
__all__ += ["markdown", "pivoted", "pyplot", "read", "save_figure", "select", "spread"]

RESULTS = Path(__file__).parent / "results"
COLUMNS = {
    "where it comes from": "script grid command date commit device load note",
    "what there is": "dataset classes side gib stream experiences order steps_of_classes step part machine limit",
    "what is made of it": "method ipc images iterations seconds_allowed learned seed batch_real at weighting length",
    "what learns": "network run steps epochs batch batches replay lr momentum weight_decay match_resolution augment",
    "figures of accuracy": "accuracy incremental_accuracy forgetting backward_transfer matrix distance_of_means",
    "figures of size": "bytes bytes_each training_images peak_memory_bytes peak_memory_gib bytes_read",
    "figures of time": "seconds seconds_each memory_seconds seconds_before seconds_per_1000_images warm_up turns "
    "ours official ratio floor flops bytes_moved",
}
GROUPS = ("config", "made", "evaluation", "codec", "versions", "settings", "limits", "tree", "packing", "condensing")
GROUPS += ("imagenet",)
KNOWN = {name for names in COLUMNS.values() for name in names.split()}


def append(name: str, rows: Iterable[dict]) -> None:
    """Add rows to results/NAME.jsonl with where they come from, beside what other processes add.

    Raises:
        ValueError: for a column that the schema does not have.
    """
    about = {"script": _script(), "grid": name, "command": command(), "date": _today(), "load": os.getloadavg()[0]}
    about |= provenance(resolve_device("auto"))
    text = "".join(json.dumps(_checked(dict(_flat(about | row)))) + "\n" for row in rows)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with FileLock(RESULTS / ".lock"), (RESULTS / f"{name}.jsonl").open("a") as file:
        file.write(text)


def lines(name: str) -> list[dict]:
    """The rows of results/NAME.jsonl so far."""
    file = RESULTS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def read(name: str, **wanted) -> pd.DataFrame:
    """The rows of results/NAME.jsonl whose columns are as wanted; every column of the schema is there."""
    frame = pd.DataFrame(lines(name), dtype=object)
    frame = frame.reindex(columns=[*frame.columns, *sorted(KNOWN - set(frame.columns))])
    return select(frame.where(frame.notna(), float("nan")), **wanted)


def select(frame: pd.DataFrame, **wanted) -> pd.DataFrame:
    """The rows whose columns have these values; None: that have none."""
    for name, value in wanted.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    return frame


def latest(frame: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """Of rows with the same keys the last."""
    return frame.drop_duplicates([*keys], keep="last")


def pivoted(frame: pd.DataFrame, rows: Sequence[str], column: str, text: Callable | None = None) -> pd.DataFrame:
    """A table of a column's values by those of ``rows``, in the order in which they come.

    Args:
        text: of the rows of each cell; by default the :func:`spread` of their accuracies.
    """
    text = text or (lambda own: spread(list(own["accuracy"])))
    return frame.groupby([*rows, column], sort=False).apply(text).unstack(column, fill_value="", sort=False)


def markdown(table: pd.DataFrame) -> str:
    """A table whose first columns are its index."""
    flat = table.reset_index()
    rows = [flat.columns, ["---"] * len(flat.columns), *flat.itertuples(index=False)]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def spread(values: Sequence[float]) -> str:
    """Mean, and of several the deviation; nothing of none."""
    if not len(values):
        return ""
    return f"{mean(values):.1f}" + (f" ± {pstdev(values):.1f}" if len(values) > 1 else "")


def pyplot():
    """Matplotlib's, for files alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def draw_panels(
    name: str, panels: Sequence[tuple[str, pd.DataFrame]], ylabel: str, colors: dict, log: str = ""
) -> None:
    """Write results/NAME.png: tables beside each other by their titles, a line for each column over the index.

    Args:
        log: names of the indices that are drawn on a logarithmic scale.
    """
    size = 1.6 + 3.8 * len(panels), 3.8
    figure, row = pyplot().subplots(1, len(panels), figsize=size, layout="constrained", sharey=True, squeeze=False)
    drawn = {}
    for axes, (title, table) in zip(row[0], panels, strict=True):
        for column in table:
            own = table[column].dropna()
            (drawn[column],) = axes.plot(own.index, own, marker="o", markersize=3, color=colors.get(column))
        axes.set(title=title, xlabel=table.index.name)
        if table.index.name in log:
            axes.set_xscale("log")
            axes.set_xticks(table.index, map(str, table.index))
            axes.minorticks_off()
    row[0][0].set_ylabel(ylabel)
    figure.legend(drawn.values(), drawn, loc="outside right center", frameon=False, fontsize=8)
    save_figure(figure, name)


def save_figure(figure, name: str) -> None:
    """Write results/NAME.png, whole or not at all, with two spines to each of its axes."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic(RESULTS / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot().close(figure)


def command() -> str:
    """The one that is running, as the docs have it."""
    return shlex.join(["python", "-m", f"benchmarks.{_script()}", *sys.argv[1:]])


def _script() -> str:
    return Path(sys.argv[0]).stem


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _flat(row: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _checked(row: dict) -> dict:
    unknown = [name for name in row if name not in KNOWN and name.split(".")[0] not in GROUPS]
    if unknown:
        raise ValueError(f"the schema has no column {', '.join(unknown)}; it is in benchmarks/results.py")
    return row
