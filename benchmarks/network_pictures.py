"""Pictures of networks trained on a set alone, from the result files of networks.py."""

from statistics import mean as average

import pandas as pd

from .labels import colors_of
from .network_tables import LABELS, curves, each, titled
from .results import draw_panels, pyplot, save_figure

__all__ = ["DRAWN"]

COLORS, CONDENSED = colors_of("set"), ("dm", "fast", "plus")
COMPARED, ACROSS = 4, 3  # methods of a column that make it worth a picture; pictures in a row


def draw_same_bytes(frame: pd.DataFrame) -> None:
    """Bars for each dataset, ipc, network and schedule of which enough methods are compared."""
    frame = titled(frame)
    columns = each(frame, "dataset", "ipc", "network", "trained for")
    frame["column"] = [f"{dataset}\n{ipc} a class\n{network}\n{trained}" for dataset, ipc, network, trained in columns]
    means = frame.groupby(["label", "column"], sort=False)["accuracy"].agg(average).unstack(sort=False).astype(float)
    means = means.loc[[label for label in LABELS.values() if label in means.index][::-1]]
    means = means.loc[:, means.notna().sum() >= COMPARED].dropna(how="all")
    if means.empty:
        return
    rows = -(-len(means.columns) // ACROSS)
    how = dict(layout=(rows, ACROSS), figsize=(10, 3.8 * rows), sharey=True, legend=False, width=0.7)
    pyplot()
    grid = means.plot.barh(subplots=True, **how)
    for axes in grid.flat[: len(means.columns)]:
        axes.bar_label(axes.containers[0], fmt=lambda value: f"{value:.1f}" if value else "", fontsize=7)
        axes.set(xlabel="test accuracy, %", ylabel="")
        for bar, label in zip(axes.patches, means.index, strict=True):
            bar.set_color(COLORS["fast" if label in CONDENSED else "herding"])
    grid.flat[0].figure.tight_layout()
    save_figure(grid.flat[0].figure, "equal_bytes")


def draw_iterations(frame: pd.DataFrame) -> None:
    """Accuracy over iterations of a run, by dataset and ipc."""
    frame = titled(frame).drop(columns="iterations").rename(columns={"at": "iterations"})
    panels = []
    for (dataset, ipc), own in frame.groupby(["dataset", "ipc"], sort=False):
        means = own.groupby(["iterations", "label"])["accuracy"].agg(average).astype(float)
        panels.append((f"{dataset}, {ipc} a class", means.unstack()))
    draw_panels("iterations", panels, "test accuracy, %", COLORS, log="iterations")


def draw_continual(frame: pd.DataFrame) -> None:
    """Accuracy over steps, of each method the mean over orders."""
    panels = []
    for length, own in titled(frame).groupby("steps_of_classes"):
        found = {title: curves(part) for title, part in own.groupby("title", sort=False)}
        means = {title: pd.DataFrame(of).mean() for title, of in found.items() if of}
        panels.append((f"{length} steps", pd.DataFrame(means).set_index(pd.RangeIndex(1, length + 1, name="step"))))
    colors = {title: COLORS.get(title.split(", ")[0]) for _, table in panels for title in table}
    draw_panels("continual", panels, "accuracy on the classes so far, %", colors)


DRAWN = {"equal_bytes": draw_same_bytes, "iterations": draw_iterations, "continual": draw_continual}
