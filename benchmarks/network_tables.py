"""Tables of networks trained on a set alone, from the result files of networks.py."""

from collections.abc import Callable
from functools import partial
from statistics import mean as average

import pandas as pd

from .labels import labels_of
from .results import pivoted, read, select, spread
from .sets import WEIGHTINGS, WHOLE
from .targets import first, published

__all__ = ["LABELS", "REPORTED", "TABLES", "curves", "each", "titled"]

LABELS, IN_TIME = labels_of("set"), labels_of("time")
SAME_BYTES = {
    "real images, whole: random / herded": ("random/whole", "herding/whole"),
    "shrunk to 16 × 16 / to 8 × 8, enlarged sharply": ("random/half", "random/quarter"),
    "as JPEG / WebP, at the quality that fits": ("random/jpeg-whole", "random/webp-whole"),
    "as JPEG / WebP, at half size": ("random/jpeg", "random/webp"),
    "real images as mosaics of 4 bits: random / herded": ("random/code", "herding/code"),
    "real images, each in as many bytes as it takes, `Dct`: random / herded": ("random/dct", "herding/dct"),
    "condensed, `paper`, whole, 180 s": ("paper/whole",),
    "**condensed, `fast`, mosaics of 4 bits, 180 s**": ("fast/code",),
    "**condensed, `fast`, by `Dct`, 300 iterations**": ("fast/dct",),
    "condensed, `plus`, mosaics of 4 bits, 600 s": ("plus/code",),
}
SECONDS = {"paper/whole": 180.0, "fast/code": 180.0, "plus/code": 600.0}
RAW = 3096  # bytes of a raw image of 3 x 32 x 32 and of the range of each channel
CLASSES = {"cifar10": 10, "cifar100": 100}


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with what tables call them: ``label``, ``budget`` of condensing, ``title`` of both, ``trained for``."""
    about = pd.DataFrame(index=frame.index)
    about["label"] = frame.method.map(lambda method: LABELS.get(method, method))
    about["budget"] = [
        f"{i} iterations" if i == i else f"{s:g} s" if s == s else ""
        for i, s in each(frame, "iterations", "seconds_allowed")
    ]
    about["title"] = [", ".join(filter(None, pair)) for pair in each(about, "label", "budget")]
    about["trained for"] = [f"{s} steps" if s == s else f"{e} epochs" for s, e in each(frame, "steps", "epochs")]
    return pd.concat([frame, about], axis=1)


def each(frame: pd.DataFrame, *names: str) -> zip:
    """The values of some columns, row by row."""
    return zip(*(frame[name] for name in names), strict=True)


def offline(frame: pd.DataFrame) -> pd.DataFrame:
    """Datasets, ipc and schedules by methods, with what the paper has for DM."""

    def entry(own: pd.DataFrame) -> str:
        parts = own.groupby("budget", sort=False)["accuracy"].agg(lambda found: spread(list(found)))
        return "; ".join(f"{text} ({budget})" if budget else text for budget, text in parts.items())

    keys = ["dataset", "ipc", "network", "trained for"]
    table = pivoted(titled(frame).sort_values(keys, kind="stable"), keys, "label", entry)
    table = table[[label for label in LABELS.values() if label in table]]
    table["*paper: dm*"] = [first("offline", dataset=d, ipc=i, method="dm", network=n) for d, i, n, _ in table.index]
    names = [(f"{d}, {i}" + ("" if n == "convnet" else f", {n}"), trained) for d, i, n, trained in table.index]
    return table.set_index(pd.MultiIndex.from_tuples(names, names=["dataset, ipc", "trained for"]))


def same_bytes(head: str, columns: dict[str, dict], count_images: bool = True) -> pd.DataFrame:
    """Sets of the same bytes beside each other, by columns of which each is chosen by what its rows have."""
    frame, rows = read("equal_bytes"), {}
    frame = frame[frame.iterations.isna() | (frame.iterations.isin([300]) & frame.learned.isin(["convnet"]))]
    parts = {title: select(frame, **({"network": "convnet"} | wanted)) for title, wanted in columns.items()}
    for title, methods in SAME_BYTES.items():
        own = [
            {c: select(part, method=m, seconds_allowed=SECONDS.get(m)) for c, part in parts.items()} for m in methods
        ]
        every = [pd.concat(by_column.values()) for by_column in own]
        if any(map(len, every)):
            images = [_images(part) for part in every]
            rows[title] = {"training images": " / ".join(dict.fromkeys(images))} if count_images else {}
            rows[title] |= {c: _beside([spread(list(by_column[c].accuracy)) for by_column in own]) for c in columns}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(head)


def by_code(network: str, steps: int) -> pd.DataFrame:
    """Real images of CIFAR-10 by several codes: images a class and accuracy, by the bytes of a class."""
    frame = select(read("equal_bytes"), dataset="cifar10", network=network, steps=steps)
    frame = frame.assign(kept=frame.method.map(_code), bytes_=[f"in {RAW * ipc:,} bytes" for ipc in frame.ipc])

    def entry(own: pd.DataFrame) -> str:
        return f"{spread(list(own.accuracy))} ({own.training_images.iloc[0] // CLASSES['cifar10']} images)"

    table = pivoted(frame.sort_values(["ipc", "kept"]), ["kept"], "bytes_", entry)
    return table[[*dict.fromkeys(frame.sort_values("ipc").bytes_)]].rename_axis("kept for each class")


def by_bytes(steps: int) -> pd.DataFrame:
    """Sets by our codes, a network of the usual width trained on them, and what others reach in such bytes."""
    ours = select(read("equal_bytes"), network="convnet", steps=steps)
    stepped = [f"{m}-{step:g}" if m.endswith("/dct") else m for m, step in each(ours, "method", "codec.step")]
    ours = ours.assign(bytes=RAW * ours.ipc, kept=[f"**ours: {_code(method)}**" for method in stepped])
    ours = ours.groupby(["dataset", "bytes", "kept"], sort=False).accuracy.agg(lambda found: spread(list(found)))
    theirs = published("bytes").rename(columns={"method": "kept"})
    theirs = theirs.assign(kept="*" + theirs.kept + "*").set_index(["dataset", "bytes", "kept"]).text
    table = pd.concat([ours, theirs]).rename("accuracy").reset_index().sort_values(["dataset", "bytes"], kind="stable")
    table["bytes"] = table["bytes"].map("{:,}".format)
    return table.set_index(["dataset", "bytes", "kept"]).rename_axis(["dataset", "bytes a class", "kept"])


def whole_in_code(dataset: str, **trained) -> pd.DataFrame:
    """All training images as they are and in few bytes each."""
    frame = select(read("equal_bytes"), dataset=dataset, **trained)
    rows = {
        _code(row.method): [f"{row.training_images:,}", f"{row.bytes:,}", f"{row.accuracy:.1f}"]
        for row in frame.itertuples()
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["images", "bytes", "accuracy"]).rename_axis("kept")


def _code(method: str) -> str:
    reducer, _, codec = method.partition("/")
    step = codec.removeprefix("dct-")
    if method == WHOLE:
        return "all images as they are"
    return f"{reducer}, " + (LABELS_OF_CODES.get(codec, f"`Dct(step={step})`"))


LABELS_OF_CODES = {"code": "mosaics of 4 bits", "code-whole": "whole images of 4 bits", "dct": "`Dct()`"}


def _images(own: pd.DataFrame) -> str:
    return str(own.training_images.iloc[0] // CLASSES[own.dataset.iloc[0]]) if len(own) else "–"


def _beside(entries: list[str]) -> str:
    return " / ".join(entry or "–" for entry in entries) if any(entries) else ""


def in_time(frame: pd.DataFrame) -> pd.DataFrame:
    """What condensing came to, by how long it took, and what the paper has on CIFAR-10."""
    frame = titled(frame)
    frame = frame[frame.budget != ""].sort_values(["ipc", "trained for", "seconds_allowed"], kind="stable")
    frame["condensed"] = [IN_TIME.get(method, method) for method in frame.method]
    frame = frame.rename(columns={"ipc": "bytes of", "budget": "for"})
    groups = frame.groupby(["condensed", "bytes of", "for", "trained for"], sort=False)["accuracy"]
    table = groups.agg(lambda found: spread(list(found))).to_frame()
    if "cifar10" in set(frame.dataset):
        theirs = first("offline", dataset="cifar10", ipc=10, method="dm")
        table.loc[("*the paper's*", "10", "20,000 iterations", "1000 epochs"), :] = theirs
    return table


def _cifar_in_time() -> pd.DataFrame:
    frame = select(pd.concat([read("efficiency"), read("equal_bytes")]), dataset="cifar10", network="convnet")
    return in_time(frame[frame.ipc > 1])


def with_papers(ours: pd.DataFrame, keys: list[str], column: str, theirs: pd.DataFrame) -> pd.DataFrame:
    """A table with the paper's figures below it, in its columns; their first key is the paper's method."""
    theirs = theirs.assign(**{keys[0]: "*paper: " + theirs["method"] + "*", "trained for": "1000 epochs"})
    table = pivoted(theirs, keys, column, lambda own: own.text.iloc[0])
    return pd.concat([ours, table.reindex(columns=ours.columns, fill_value="")])


def cross_arch(frame: pd.DataFrame, least: int = 1) -> pd.DataFrame:
    """What condensed, by networks that were trained, with the paper's figures.

    Args:
        least: networks that a row has, or it is left out.
    """
    frame, keys = titled(frame), ["condensed by", "ipc", "trained for"]
    by = [
        ", ".join([label, learned, budget] if budget else [label])
        for label, learned, budget in each(frame, "label", "learned", "budget")
    ]
    table = pivoted(frame.assign(**{"condensed by": by}), keys, "network")
    theirs = published("cross_arch", dataset=frame.dataset.iloc[0])
    table = with_papers(table[(table != "").sum(axis=1) >= least], keys, "network", theirs)
    return table.rename_axis(["condensed by", "bytes of", "trained for"])


def continual(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at the end by method and steps, mean and deviation over orders of what its networks have on average."""

    def entry(own: pd.DataFrame) -> str:
        ends = [curve[-1] for curve in curves(own)]
        return spread(ends) + (f" ({len(ends)} orders)" if len(ends) > 1 else "")

    frame = titled(frame).sort_values("steps_of_classes", kind="stable")
    frame["title"] = [t + ("" if n == "convnet" else f", {n}") for t, n in each(frame, "title", "network")]
    frame["long"] = frame.steps_of_classes.map("{} steps".format)
    theirs = published("continual", dataset=frame.dataset.iloc[0], ipc=frame.ipc.iloc[0])
    theirs = theirs.assign(long=theirs.steps.map("{} steps".format))
    keys = ["title", "trained for"]
    return with_papers(pivoted(frame, keys, "long", entry), keys, "long", theirs).rename_axis(["", "trained for"])


def curves(own: pd.DataFrame) -> list[list[float]]:
    """For each order whose steps are all there, the accuracy after each, mean of its networks."""
    found = [part.groupby("step")["accuracy"].agg(average) for _, part in own.groupby("order")]
    return [list(curve) for curve in found if len(curve) == own.steps_of_classes.iloc[0]]


def nas(frame: pd.DataFrame) -> pd.DataFrame:
    """Proxies by what they are judged by, with the paper's figures.

    That is Spearman's correlation of their ranking with that of all images, over all networks and over the half that is
    best on all images (the paper's is over its "top" ones, without a number); the accuracy that the network which they
    rank first has with all images; and their time.
    """
    frame, rows = titled(frame), {}
    proxies = dict(list(frame.groupby(["label", "title", "trained for"], sort=False)))
    means = {
        key: own.groupby("network", sort=False)["accuracy"].agg(average).astype(float) for key, own in proxies.items()
    }
    whole = max((own for key, own in means.items() if key[0] == WHOLE), key=len)
    for (label, title, trained), own in means.items():
        own = own[own.index.isin(whole.index)]
        better = whole[own.index].sort_values(kind="stable").index[len(own) // 2 :]
        ranks = [f"{own[among].corr(whole[among], method='spearman'):.2f}" for among in (own.index, better)]
        seconds = average(proxies[label, title, trained].seconds)
        theirs = [
            first(f"nas {what}", dataset=frame.dataset.iloc[0], method=label) for what in ("correlation", "accuracy")
        ]
        rows[title, len(own), trained] = [*ranks, f"{whole[own.idxmax()]:.1f}", f"{seconds:.0f}", *theirs]
    head = ["correlation", "of the better half", "accuracy of the pick, %", "seconds a network"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=[*head, "*paper's correlation*", "*accuracy*"])
    return table.set_index(pd.MultiIndex.from_tuples(rows, names=["proxy", "networks", "trained for"]))


def nested(frame: pd.DataFrame, head: str = "") -> pd.DataFrame:
    """Accuracy of a set's prefixes by how they were weighted, means of all networks."""
    table = pivoted(frame, ["weighting"], "length", lambda own: f"{average(own.accuracy):.1f}")
    return (
        table.loc[[name for name in WEIGHTINGS if name in table.index]]
        .rename(index=labels_of("weighting"))
        .rename_axis(head)
    )


TABLES: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "offline": offline,
    "efficiency": in_time,
    "cross_arch": cross_arch,
    "continual": continual,
    "nas": nas,
    "nested": nested,
}
REDUCED = {"network": "resnet18:width=20"}


def _of_cifar(dataset: str, ipc: int, schedules: dict[str, dict]) -> Callable[[], pd.DataFrame]:
    columns = {title: {"dataset": dataset, "ipc": ipc, **schedule} for title, schedule in schedules.items()}
    return partial(same_bytes, f"kept for each class in {ipc * RAW:,} bytes", columns)


SHORT = {"after 400 steps": {"steps": 400}}
SECOND = {
    "CIFAR-10, ten images' bytes, 150 steps": {"dataset": "cifar10", "ipc": 10, "steps": 150, **REDUCED},
    "CIFAR-10, one image's, 150 steps": {"dataset": "cifar10", "ipc": 1, "steps": 150, **REDUCED},
    "CIFAR-100, ten images', 500 steps": {"dataset": "cifar100", "ipc": 10, "steps": 500, **REDUCED},
}
REPORTED: dict[str, Callable[[], pd.DataFrame]] = {
    "cifar10-ten": _of_cifar("cifar10", 10, {**SHORT, "after 1,500": {"steps": 1500}}),
    "cifar10-one": _of_cifar("cifar10", 1, {**SHORT, "by the paper's 1,001 epochs": {"epochs": 1000}}),
    "cifar100-ten": _of_cifar("cifar100", 10, {**SHORT, "after 4,000": {"steps": 4000}}),
    "second-network": partial(same_bytes, "kept for each class", SECOND, count_images=False),
    "codes-short": partial(by_code, "convnet:width=32", 800),
    "codes-longer": partial(by_code, "convnet:width=64", 2000),
    "codes-beside-others": partial(by_bytes, 2000),
    "whole-in-code": partial(whole_in_code, "cifar100", network="convnet:width=32", steps=3000),
    "time": _cifar_in_time,
    "paper-offline": lambda: offline(read("offline")),
    "paper-architectures": lambda: cross_arch(read("cross_arch"), least=5),
    "paper-continual": lambda: continual(read("continual")),
    "paper-search": lambda: nas(read("nas")),
    "nested-digits": lambda: nested(read("nested", dataset="digits"), "digits, 600 iterations"),
    "nested-cifar10": lambda: nested(read("nested", dataset="cifar10"), "CIFAR-10, 200 iterations"),
}
