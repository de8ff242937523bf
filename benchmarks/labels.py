"""What tables and pictures call the values of columns, in their order, and in which color; from labels.csv."""

import functools
from pathlib import Path

import pandas as pd

__all__ = ["colors_of", "labels_of"]

FILE = Path(__file__).with_name("labels.csv")


def labels_of(table: str) -> dict[str, str]:
    """Labels by values."""
    own = _labels()[_labels()["table"] == table]
    return dict(zip(own["value"], own["label"], strict=True))


def colors_of(table: str) -> dict[str, str]:
    """Colors by labels, of those that have one."""
    own = _labels()[(_labels()["table"] == table) & (_labels()["color"] != "")]
    return dict(zip(own["label"], own["color"], strict=True))


@functools.cache
def _labels() -> pd.DataFrame:
    return pd.read_csv(FILE, dtype=str, keep_default_na=False)
