"""What scripts with named grids share: axes as options, cells as rows of plain values, and none measured twice."""

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from dm_replay.runtime import hardware

from .results import append, lines, markdown, read, spread

__all__ = ["Grid", "cells", "fill", "run"]

OPTIONS = {"seconds_allowed": "seconds"}  # of the command, where they are not called as their column
WORDS = {"dataset", "stream", "method", "learned", "network", "augment", "weighting"}
FLOATS = {"seconds_allowed", "lr", "momentum", "weight_decay", "match_resolution"}


@dataclass(frozen=True)
class Grid:
    """Axes with their usual values, and what ``--quick`` has instead of some.

    Attributes:
        axes: columns of the results, in the order in which they vary, the last one fastest.
        expand: the cells that a combination of values stands for.
        runs: rows of each cell.
    """

    about: str
    axes: Mapping[str, list]
    expand: Callable[[dict], Iterable[dict]]
    quick: Mapping[str, list] = field(default_factory=dict)
    runs: int = 1


Measured = Callable[[dict, int, int], Iterator[list[dict]]]
Table = Callable[[pd.DataFrame], pd.DataFrame]


def run(
    grids: Mapping[str, Grid],
    about: str | None,
    measured: Measured,
    tables: Mapping[str, Table],
    drawn: Mapping[str, Callable[[pd.DataFrame], None]],
    argv: Sequence[str] | None = None,
) -> None:
    """Measure the cells that a command line asks for, print the grid's table and draw its picture.

    Args:
        measured: (cell, first, runs) -> rows of the runs from the first on, as they are done.
    """
    axes = vars(_parsed(grids, about, argv))
    name, runs = axes.pop("grid"), axes.pop("runs")
    del axes["quick"]
    hardware.keep_memory()
    fill(name, cells(grids[name], axes), measured, runs)
    if name in tables:
        print(markdown(tables[name](read(name))))
    if name in drawn:
        drawn[name](read(name))


def cells(grid: Grid, axes: Mapping[str, list]) -> list[dict]:
    """All combinations of the axes' values, each once."""
    combined = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
    found = (tuple(cell.items()) for whole in combined for cell in grid.expand(whole))
    return [dict(items) for items in dict.fromkeys(found)]


def fill(name: str, wanted: Sequence[dict], measured: Measured, runs: int) -> None:
    """Measure for each cell the rows that it lacks of so many; they are added to results/NAME.jsonl as they are done.

    A cell that cannot be measured, as where a memory has no room for an image of each class, is left out.
    """
    known = lines(name)
    for number, cell in enumerate(wanted, 1):
        title = ", ".join(f"{key} {value}" for key, value in cell.items() if value is not None)
        if len(_rows(known, cell)) < runs:
            known = lines(name)  # with what other processes have added meanwhile
        if len(_rows(known, cell)) < runs:
            print(f"cell {number} of {len(wanted)}: {title}", flush=True)
            try:
                for rows in measured(cell, len(_rows(known, cell)), runs):
                    append(name, rows)
            except ValueError as error:
                print(f"left out: {error}", flush=True)
            known = lines(name)
        print(f"{spread([row['accuracy'] for row in _rows(known, cell)]):>10}   {title}", flush=True)


def _rows(known: Sequence[dict], cell: dict) -> list[dict]:
    return [row for row in known if cell.items() <= row.items()]


def _parsed(grids: Mapping[str, Grid], about: str | None, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options: which grid, ``runs``, and the values of each axis."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parsers = parser.add_subparsers(dest="grid", required=True)
    for name, grid in grids.items():
        how = dict(help=grid.about, description=grid.about, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        own = parsers.add_parser(name, **how)
        for axis, values in grid.axes.items():
            spoken = f"--{OPTIONS.get(axis, axis).replace('_', '-')}"
            kind = str if axis in WORDS else float if axis in FLOATS else int
            own.add_argument(spoken, dest=axis, nargs="+", type=kind, default=values, metavar="VALUE", help=" ")
        own.add_argument("--runs", type=int, default=grid.runs, help="rows of each cell, as of so many networks")
        own.add_argument("--quick", action="store_true", help=f"instead of what is not given: {dict(grid.quick)}")
    options = parser.parse_args(argv)
    if options.quick:
        parsers.choices[options.grid].set_defaults(**grids[options.grid].quick)
    return parser.parse_args(argv)
