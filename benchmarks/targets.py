"""What others published, from targets.csv, whence tables take it: in percent, but for correlations.

Of streams, ``ipc`` is the raw images in the memory; ``bytes`` are those of a class. ``verified`` says whether a figure
was checked against the printed paper.
"""

import functools
from pathlib import Path

import pandas as pd

from .results import select

__all__ = ["first", "published"]

FILE = Path(__file__).with_name("targets.csv")


def published(table: str, **wanted) -> pd.DataFrame:
    """The figures of a table whose columns are as wanted, each with its ``text`` in italics."""
    return select(_targets(), table=table, **wanted)


def first(table: str, **wanted) -> str:
    """The text of the first of them, or nothing."""
    return next(iter(published(table, **wanted)["text"]), "")


@functools.cache
def _targets() -> pd.DataFrame:
    frame = pd.read_csv(FILE).astype({"ipc": "Int64", "steps": "Int64", "bytes": "Int64"})
    return frame.assign(text=[_text(row) for row in frame.itertuples()])


def _text(row) -> str:
    digits = 2 if row.table == "nas correlation" else 1
    spread = "" if pd.isna(row.std) else f" ± {row.std:.{digits}f}"
    return f"*{row.mean:.{digits}f}{spread}{'' if row.verified == 'yes' else ' (unverified)'}*"
