"""Tables and pictures of networks trained on a set alone, from the result files of networks.py."""

from collections.abc import Callable
from functools import partial
from statistics import mean

import pandas as pd

from .results import draw_panels, pivoted, pyplot, read, save_figure, select, spread
from .sets import EARLY, WEIGHTINGS, WHOLE
from .targets import first, published

__all__ = ["DRAWN", "REPORTED", "TABLES", "titled"]

LABELS = {
    "random/whole": "random",
    "herding/whole": "herding",
    "kmeans/whole": "k-means",
    "random/half": "shrunk 2",
    "random/quarter": "shrunk 4",
    "random/code": "our codec, random",
    "herding/code": "our codec, herding",
    "random/webp-whole": "webp, 10 images",
    "random/webp": "webp, 20 images at half size",
    "random/jpeg-whole": "jpeg, 10 images",
    "random/jpeg": "jpeg, 20 images at half size",
    "paper/whole": "dm",
    "fast/code": "fast",
    "plus/code": "plus",
    EARLY: EARLY,
    WHOLE: WHOLE,
}
COLORS = {"random": "#9a9a9a", "herding": "#e0b070", "our codec, herding": "#3fa38c"}
COLORS |= {"dm": "#b5432e", "fast": "#2f6db3"}
SAME_BYTES = {
    "real images, whole: random / herded": ("random/whole", "herding/whole"),
    "shrunk to 16 × 16 / to 8 × 8, enlarged sharply": ("random/half", "random/quarter"),
    "as JPEG / WebP, at the quality that fits": ("random/jpeg-whole", "random/webp-whole"),
    "as JPEG / WebP, at half size": ("random/jpeg", "random/webp"),
    "real images by our codec: random / herded": ("random/code", "herding/code"),
    "condensed, `paper`, whole, 180 s": ("paper/whole",),
    "**condensed, `fast`, by our codec, 180 s**": ("fast/code",),
    "condensed, `plus`, by our codec, 600 s": ("plus/code",),
}
SECONDS = {"paper/whole": 180.0, "fast/code": 180.0, "plus/code": 600.0}
IN_TIME = {"paper/whole": "`paper`", "fast/code": "`fast`", "plus/code": "`plus`"}
IN_TIME |= {"fast/whole": "fast, whole images", "fast/8bit": "fast, tiles of 8 bits"}
NESTED = {
    "random": "random real images",
    "plain": "plain, cut",
    "equal": "every prefix weighs 1",
    "k^2": "weights (k/10)²",
    "k": "weights k/10",
    "0.05": "**0.05**",
    "alone": "condensed for that length alone",
}
RAW = 3096  # bytes of a raw image of 3 x 32 x 32 and of the range of each channel
COMPARED, ACROSS = 4, 3  # methods of a column that make it worth a picture; pictures in a row


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with what tables call them: ``label``, ``budget`` of condensing, ``title`` of both, ``trained for``."""
    about = pd.DataFrame(index=frame.index)
    about["label"] = frame.method.map(lambda method: LABELS.get(method, method))
    about["budget"] = [
        f"{i} iterations" if i == i else f"{s:g} s" if s == s else ""
        for i, s in _pairs(frame, "iterations", "seconds_allowed")
    ]
    about["title"] = [", ".join(filter(None, pair)) for pair in _pairs(about, "label", "budget")]
    about["trained for"] = [f"{s} steps" if s == s else f"{e} epochs" for s, e in _pairs(frame, "steps", "epochs")]
    return pd.concat([frame, about], axis=1)


def _pairs(frame: pd.DataFrame, *names: str) -> zip:
    return zip(*(frame[name] for name in names), strict=True)


def offline(frame: pd.DataFrame) -> pd.DataFrame:
    """Datasets, ipc and schedules by methods, with what the paper has for DM."""

    def entry(own: pd.DataFrame) -> str:
        parts = own.groupby("budget", sort=False)["accuracy"].agg(lambda found: spread(list(found)))
        return "; ".join(f"{text} ({budget})" if budget else text for budget, text in parts.items())

    rows = ["dataset", "ipc", "network", "trained for"]
    table = pivoted(titled(frame).sort_values(rows, kind="stable"), rows, "label", entry)
    table = table[[label for label in LABELS.values() if label in table]]
    table["*paper: dm*"] = [first("offline", dataset=d, ipc=i, method="dm", network=n) for d, i, n, _ in table.index]
    names = [f"{d}, {i}" + ("" if n == "convnet" else f", {n}") for d, i, n, _ in table.index]
    return table.set_index(
        pd.MultiIndex.from_arrays([names, [t for *_, t in table.index]], names=["dataset, ipc", rows[3]])
    )


def same_bytes(head: str, columns: dict[str, dict], count_images: bool = True) -> pd.DataFrame:
    """Sets of the same bytes beside each other, by columns of which each is chosen by what its rows have."""
    frame = read("equal_bytes")
    parts = {title: select(frame, **({"network": "convnet"} | wanted)) for title, wanted in columns.items()}
    found = {}
    for title, methods in SAME_BYTES.items():
        of_row = {
            column: [select(part, method=name, seconds_allowed=SECONDS.get(name)) for name in methods]
            for column, part in parts.items()
        }
        every = [pd.concat(own) for own in zip(*of_row.values(), strict=True)]
        if not any(map(len, every)):
            continue
        images = [str(own.training_images.iloc[0] // _classes(own)) if len(own) else "–" for own in every]
        entries = {name: _beside([spread(list(own.accuracy)) for own in cells]) for name, cells in of_row.items()}
        found[title] = ({"training images": " / ".join(dict.fromkeys(images))} if count_images else {}) | entries
    return pd.DataFrame.from_dict(found, orient="index").rename_axis(head)


def _classes(own: pd.DataFrame) -> int:
    return {"cifar10": 10, "cifar100": 100}[own.dataset.iloc[0]]


def _beside(entries: list[str]) -> str:
    return " / ".join(entry or "–" for entry in entries) if any(entries) else ""


def in_time(frame: pd.DataFrame | None = None) -> pd.DataFrame:
    """What seconds of condensing came to on CIFAR-10, in the bytes of several images, and what the paper has."""
    frame = pd.concat([read("efficiency"), read("equal_bytes")]) if frame is None else frame
    frame = titled(select(frame, dataset="cifar10", network="convnet"))
    frame = frame[(frame.seconds_allowed > 0) & (frame.ipc > 1)].sort_values(
        ["ipc", "trained for", "seconds_allowed"], kind="stable"
    )
    rows = ["condensed", "bytes of", "for", "trained for"]
    frame = frame.assign(
        condensed=[IN_TIME.get(method, method) for method in frame.method],
        **{"bytes of": frame.ipc, "for": frame.budget},
    )
    table = frame.groupby(rows, sort=False)["accuracy"].agg(lambda found: spread(list(found))).to_frame()
    theirs = first("offline", dataset="cifar10", ipc=10, method="dm")
    table.loc[("*the paper's*", "10", "20,000 iterations", "1000 epochs"), :] = theirs
    return table


def cross_arch(frame: pd.DataFrame, least: int = 1) -> pd.DataFrame:
    """What condensed, by networks that were trained, with the paper's figures.

    Args:
        least: networks that a row has, or it is left out.
    """
    rows = ["condensed by", "bytes of", "trained for"]
    frame = titled(frame)
    by = [f"{c.label}, {c.learned}, {c.budget}" if c.budget else c.label for c in frame.itertuples()]
    table = pivoted(frame.assign(**{"condensed by": by, "bytes of": frame.ipc}), rows, "network")
    table = table[(table != "").sum(axis=1) >= least]
    theirs = published("cross_arch", dataset=frame.dataset.iloc[0])
    theirs = theirs.assign(
        **{"condensed by": "*paper: " + theirs["method"] + "*", "bytes of": theirs.ipc, "trained for": "1000 epochs"}
    )
    return _joined(table, pivoted(theirs, rows, "network", lambda own: own.text.iloc[0]))


def _joined(table: pd.DataFrame, theirs: pd.DataFrame) -> pd.DataFrame:
    """A table with rows of others below it, in its columns."""
    return pd.concat([table, theirs.reindex(columns=table.columns, fill_value="")])


def continual(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at the end by method and steps, mean and deviation over orders of what its networks have on average."""

    def entry(own: pd.DataFrame) -> str:
        ends = [curve[-1] for curve in curves(own)]
        return spread(ends) + (f" ({len(ends)} orders)" if len(ends) > 1 else "")

    frame = titled(frame).sort_values("steps_of_classes", kind="stable")
    titles = [t + ("" if n == "convnet" else f", {n}") for t, n in zip(frame.title, frame.network, strict=True)]
    frame = frame.assign(title=titles, long=[f"{steps} steps" for steps in frame.steps_of_classes])
    theirs = published("continual", dataset=frame.dataset.iloc[0], ipc=frame.ipc.iloc[0])
    longs = [f"{steps} steps" for steps in theirs.steps]
    theirs = theirs.assign(title="*paper: " + theirs["method"] + "*", long=longs, **{"trained for": "1000 epochs"})
    rows, column = ["title", "trained for"], "long"
    table = _joined(pivoted(frame, rows, column, entry), pivoted(theirs, rows, column, lambda own: own.text.iloc[0]))
    return table.rename_axis(["", "trained for"])


def curves(own: pd.DataFrame) -> list[list[float]]:
    """For each order whose steps are all there, the accuracy after each, mean of its networks."""
    found = [part.groupby("step")["accuracy"].agg(lambda a: mean(a)) for _, part in own.groupby("order")]
    return [list(curve) for curve in found if len(curve) == own.steps_of_classes.iloc[0]]


def nas(frame: pd.DataFrame) -> pd.DataFrame:
    """Proxies by what they are judged by, with the paper's figures.

    That is Spearman's correlation of their ranking with that of all images, over all networks and over the half that is
    best on all images (the paper's is over its "top" ones, without a number); the accuracy that the network which they
    rank first has with all images; and their time.
    """
    frame = titled(frame)
    means = frame.groupby(["label", "title", "trained for", "network"], sort=False)["accuracy"].agg(lambda a: mean(a))
    groups = {key: own.droplevel([0, 1, 2]).astype(float) for key, own in means.groupby(level=[0, 1, 2], sort=False)}
    whole = max((own for key, own in groups.items() if key[0] == WHOLE), key=len)
    rows = {}
    for (label, title, trained), own in groups.items():
        own = own[own.index.isin(whole.index)]
        better = whole[own.index].sort_values(kind="stable").index[len(own) // 2 :]
        ranks = [f"{own[among].corr(whole[among], method='spearman'):.2f}" for among in (own.index, better)]
        seconds = mean(select(frame, title=title, **{"trained for": trained}).seconds)
        theirs = [
            first(f"nas {what}", dataset=frame.dataset.iloc[0], method=label) for what in ("correlation", "accuracy")
        ]
        rows[title, len(own), trained] = [*ranks, f"{whole[own.idxmax()]:.1f}", f"{seconds:.0f}", *theirs]
    head = ["correlation", "of the better half", "accuracy of the pick, %", "seconds a network"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*head, "*paper's correlation*", "*accuracy*"])
    return table.set_index(pd.MultiIndex.from_tuples(rows, names=["proxy", "networks", "trained for"]))


def nested(frame: pd.DataFrame, head: str = "") -> pd.DataFrame:
    """Accuracy of a set's prefixes by how they were weighted, means of all networks."""
    table = pivoted(frame, ["weighting"], "length", lambda own: f"{mean(own.accuracy):.1f}")
    table = table.loc[[name for name in WEIGHTINGS if name in table.index]]
    return table.rename(index=NESTED).rename_axis(head)


def draw_same_bytes(frame: pd.DataFrame) -> None:
    """Bars for each dataset, ipc, network and schedule of which enough methods are compared."""
    frame = titled(frame)
    frame = frame.assign(
        column=[
            f"{d}\n{i} a class\n{n}\n{s}" for d, i, n, s in _pairs(frame, "dataset", "ipc", "network", "trained for")
        ]
    )
    means = frame.groupby(["label", "column"], sort=False)["accuracy"].agg(lambda a: mean(a)).unstack(sort=False)
    means = means.loc[[label for label in LABELS.values() if label in means.index], means.notna().sum() >= COMPARED]
    if means.empty:
        return
    rows = -(-len(means.columns) // ACROSS)
    figure, grid = pyplot().subplots(
        rows, ACROSS, figsize=(10, 3.8 * rows), layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for axes, column in zip(grid.flat, means, strict=False):
        own = means[column].astype(float)
        bars = axes.barh(
            own.index,
            own,
            color=[COLORS["fast" if label in ("dm", "fast", "plus") else "herding"] for label in own.index],
        )
        axes.bar_label(bars, labels=["" if value != value else f"{value:.1f}" for value in own], fontsize=7, padding=2)
        axes.set_title(column, fontsize=8)
    for axes in grid.flat[len(means.columns) :]:
        axes.set_axis_off()
    grid[0][0].invert_yaxis()
    figure.supxlabel("test accuracy, %", fontsize=9)
    save_figure(figure, "equal_bytes")


def draw_iterations(frame: pd.DataFrame) -> None:
    """Accuracy over iterations of a run, by dataset and ipc."""
    panels = []
    for (dataset, ipc), own in (
        titled(frame).rename(columns={"at": "iterations", "iterations": "end"}).groupby(["dataset", "ipc"], sort=False)
    ):
        table = own.astype({"accuracy": float}).pivot_table(index="iterations", columns="label", values="accuracy")
        panels.append((f"{dataset}, {ipc} a class", table))
    draw_panels("iterations", panels, "test accuracy, %", COLORS, log="iterations")


def draw_continual(frame: pd.DataFrame) -> None:
    """Accuracy over steps, of each method the mean over orders."""
    panels = []
    for length, own in titled(frame).groupby("steps_of_classes"):
        found = {title: curves(part) for title, part in own.groupby("title", sort=False)}
        means = {title: [mean(values) for values in zip(*of, strict=True)] for title, of in found.items() if of}
        panels.append((f"{length} steps", pd.DataFrame(means, index=pd.RangeIndex(1, length + 1, name="step"))))
    colors = {title: COLORS.get(title.split(", ")[0]) for _, table in panels for title in table}
    draw_panels("continual", panels, "accuracy on the classes so far, %", colors)


TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "offline": offline,
    "efficiency": in_time,
    "cross_arch": cross_arch,
    "continual": continual,
    "nas": nas,
    "nested": nested,
}
DRAWN = {"equal_bytes": draw_same_bytes, "iterations": draw_iterations, "continual": draw_continual}
REDUCED = {"network": "resnet18:width=20"}


def _of_cifar(dataset: str, ipc: int, schedules: dict[str, dict]) -> pd.DataFrame:
    columns = {title: {"dataset": dataset, "ipc": ipc, **schedule} for title, schedule in schedules.items()}
    return same_bytes(f"kept for each class in {ipc * RAW:,} bytes", columns)


REPORTED: dict[str, Callable[[], pd.DataFrame]] = {
    "cifar10-ten": partial(
        _of_cifar, "cifar10", 10, {"after 400 steps": {"steps": 400}, "after 1,500": {"steps": 1500}}
    ),
    "cifar10-one": partial(
        _of_cifar, "cifar10", 1, {"after 400 steps": {"steps": 400}, "by the paper's 1,001 epochs": {"epochs": 1000}}
    ),
    "cifar100-ten": partial(
        _of_cifar, "cifar100", 10, {"after 400 steps": {"steps": 400}, "after 4,000": {"steps": 4000}}
    ),
    "second-network": partial(
        same_bytes,
        "kept for each class",
        {
            "CIFAR-10, ten images' bytes, 150 steps": {"dataset": "cifar10", "ipc": 10, "steps": 150, **REDUCED},
            "CIFAR-10, one image's, 150 steps": {"dataset": "cifar10", "ipc": 1, "steps": 150, **REDUCED},
            "CIFAR-100, ten images', 500 steps": {"dataset": "cifar100", "ipc": 10, "steps": 500, **REDUCED},
        },
        count_images=False,
    ),
    "time": in_time,
    "paper-offline": lambda: offline(read("offline")),
    "paper-architectures": lambda: cross_arch(read("cross_arch"), least=5),
    "paper-continual": lambda: continual(read("continual")),
    "paper-search": lambda: nas(read("nas")),
    "nested-digits": lambda: nested(read("nested", dataset="digits"), "digits, 600 iterations"),
    "nested-cifar10": lambda: nested(read("nested", dataset="cifar10"), "CIFAR-10, 200 iterations"),
}
