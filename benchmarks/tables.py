"""The tables of the README by their names, from result files; figures of others come from targets.csv."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import continual_gdumb
import cost_tables
import cross_arch
import nas
import offline
import online_cifar100
import ordinary_streams
import stream_report
from common import markdown, read_results, spread, trained_for
from split_cifar100 import alike, options_of
from targets import published

__all__ = ["TABLES"]

PRESETS = {"dm": "`paper`", "paper": "`paper`", "fast": "`fast`", "plus": "`plus`"}
RAW = 3096  # bytes of a raw image of 3 x 32 x 32 and of the range of each channel
CLASSES = {"cifar10": 10, "cifar100": 100}
Column = tuple[str, Callable[[dict], bool]]
Row = tuple[str, tuple[str, ...]]

REAL_ROWS: tuple[Row, ...] = (
    ("real images, whole: random / herded", ("random", "herding")),
    ("shrunk to 16 × 16 / to 8 × 8, enlarged sharply", ("shrunk 2", "shrunk 4")),
    ("as JPEG / WebP, at the quality that fits", ("jpeg, 10 images", "webp, 10 images")),
    ("as JPEG / WebP, at half size", ("jpeg, 20 images at half size", "webp, 20 images at half size")),
    ("real images in our own code: random / herded", ("our code, random", "our code, herding")),
)
CONDENSED_ROWS: tuple[Row, ...] = (
    ("condensed, `paper`, whole, 180 s", ("dm 180 s",)),
    ("**condensed, `fast`, in our code, 180 s**", ("fast 180 s",)),
    ("condensed, `plus`, in our code, 600 s", ("plus 600 s",)),
)


def equal_bytes(head: str, columns: Sequence[Column], rows: Sequence[Row], count_images: bool = True) -> str:
    """Of equal_bytes.json: rows of one or two sets beside each other, columns that choose by a cell's settings."""
    cells = list(read_results("equal_bytes").values())
    lines = []
    for title, names in rows:
        found = [[_first(cells, name, fits) for name in names] for _, fits in columns]
        if any(cell for place in found for cell in place):
            images = [next((place[number] for place in found if place[number]), None) for number in range(len(names))]
            each = [str(cell["training_images"] // CLASSES[cell["dataset"]]) if cell else "–" for cell in images]
            counted = [" / ".join(dict.fromkeys(each))] if count_images else []
            lines.append([title, *counted, *map(_beside, found)])
    counted = ["training images"] if count_images else []
    return markdown([head, *counted, *(title for title, _ in columns)], lines)


def _first(cells: list[dict], name: str, fits: Callable[[dict], bool]) -> dict | None:
    return next((cell for cell in cells if _title(cell) == name and fits(cell)), None)


def _title(cell: dict) -> str:
    return f"{cell['cell']} {cell['seconds_allowed']:g} s" if cell["seconds_allowed"] else cell["cell"]


def _beside(cells: list[dict | None]) -> str:
    return " / ".join(spread(cell["accuracies"]) if cell else "–" for cell in cells) if any(cells) else ""


def chosen(dataset: str, ipc: int, network: str = "convnet", **schedule: int) -> Callable[[dict], bool]:
    """Whether a cell has these settings; ``schedule``: its steps or epochs."""

    def fits(cell: dict) -> bool:
        asked = {name: cell["evaluation"][name] for name in schedule}
        by_epochs = cell["evaluation"]["steps"] is None
        same = (cell["dataset"], cell["ipc"], cell["network"]) == (dataset, ipc, network)
        return same and asked == schedule and by_epochs == ("epochs" in schedule)

    return fits


def by_schedule(dataset: str, ipc: int, schedules: Mapping[str, Mapping[str, int]]) -> str:
    """Of equal_bytes.json: all sets in the bytes of so many raw images, each with its channels' ranges, by schedule."""
    columns = [(title, chosen(dataset, ipc, **schedule)) for title, schedule in schedules.items()]
    return equal_bytes(f"kept for each class in {ipc * RAW:,} bytes", columns, ALL_ROWS)


def streams(name: str, parser: argparse.ArgumentParser, but: Sequence[str] = (), **settings) -> list[dict]:
    """The cells of the protocol that a script has unless ``settings`` say otherwise, but for names in ``but``."""
    return alike(read_results(name), parser.parse_args([], argparse.Namespace(**settings)), but)


def resampling(images: int) -> str:
    """What resampling does for the two normalizations, of memories in the bytes of so many images."""
    networks = {"InstanceNorm": "convnet:width=64", "BatchNorm": "convnet:width=64,norm=batch"}
    parts = {"current images as they are": 0.0, "half of them resampled": 0.5}
    columns = {
        f"{norm}, {text}": [
            cell
            for cell in streams("split_cifar100", options_of(None), but=["resampled"], network=network)
            if cell["settings"].get("resampled", 0.0) == part and cell["images"] == images
        ]
        for norm, network in networks.items()
        for text, part in parts.items()
    }
    return stream_report.beside(columns, least=2)


def other_streams() -> str:
    """The same on other datasets, each at one size; at 64 pixels also with half of the current images resampled."""
    tiny = {"dataset": "tinyimagenet", "network": "convnet:width=64,depth=4"}
    protocols = {
        "Split-CIFAR10, 5 experiences, 100 images": (100, {"dataset": "cifar10", "experiences": 5}),
        "Split-TinyImageNet, 10 experiences, 1000 images": (1000, tiny),
        "the same, half of the current images resampled": (1000, tiny | {"resampled": 0.5}),
    }
    columns = {
        title: [c for c in streams(f"split_{how['dataset']}", options_of(None), **how) if c["images"] == images]
        for title, (images, how) in protocols.items()
    }
    return stream_report.beside(columns)


def budgets() -> str:
    """What seconds of condensing came to on CIFAR-10, and what the paper has."""
    cells = [*read_results("efficiency").values(), *read_results("equal_bytes").values()]
    own = sorted(filter(_of_budgets, cells), key=lambda cell: (cell["ipc"], trained_for(cell), cell["seconds_allowed"]))
    rows = [
        [
            PRESETS.get(cell["cell"], cell["cell"]),
            str(cell["ipc"]),
            f"{cell['seconds_allowed']:g} s",
            trained_for(cell),
            spread(cell["accuracies"]),
        ]
        for cell in own
    ]
    theirs = published("offline", dataset="cifar10", ipc=10, method="dm")
    rows.append(["*the paper's*", "10", "20,000 iterations", "1000 epochs", f"*{theirs}*"])
    return markdown(["condensed", "bytes of", "for", "trained for", "accuracy"], rows)


def _of_budgets(cell: dict) -> bool:
    """Whether it is a condensed set of CIFAR-10, in the bytes of several images a class, for the ConvNet."""
    asked = cell["dataset"], cell["evaluation"]["network"]
    return asked == ("cifar10", "convnet") and cell["seconds_allowed"] > 0 and cell["ipc"] > 1


REDUCED = "resnet18:width=20"
ALL_ROWS = (*REAL_ROWS, *CONDENSED_ROWS)
TABLES: dict[str, Callable[[], str]] = {
    "cifar10-ten": partial(
        by_schedule, "cifar10", 10, {"after 400 steps": {"steps": 400}, "after 1,500": {"steps": 1500}}
    ),
    "cifar10-one": partial(
        by_schedule, "cifar10", 1, {"after 400 steps": {"steps": 400}, "by the paper's 1,001 epochs": {"epochs": 1000}}
    ),
    "cifar100-ten": partial(
        by_schedule, "cifar100", 10, {"after 400 steps": {"steps": 400}, "after 4,000": {"steps": 4000}}
    ),
    "streams": lambda: stream_report.table(streams("split_cifar100", options_of(None))),
    "streams-resnet": lambda: stream_report.table(
        streams("split_cifar100", options_of(None), network="resnet18:width=20,norm=batch")
    ),
    "streams-others": other_streams,
    "ordinary-streams": ordinary_streams.table,
    "resampling": lambda: resampling(200),
    "stream-costs": lambda: stream_report.costs(streams("split_cifar100", options_of(None)), 200),
    "online": lambda: online_cifar100.table(
        streams("online_cifar100", online_cifar100.parser_of(), but=["network", "resampled"])
    ),
    "second-network": partial(
        equal_bytes,
        "kept for each class",
        [
            ("CIFAR-10, ten images' bytes, 150 steps", chosen("cifar10", 10, REDUCED, steps=150)),
            ("CIFAR-10, one image's, 150 steps", chosen("cifar10", 1, REDUCED, steps=150)),
            ("CIFAR-100, ten images', 500 steps", chosen("cifar100", 10, REDUCED, steps=500)),
        ],
        ALL_ROWS,
        count_images=False,
    ),
    "paper-offline": lambda: offline.table(read_results("offline")),
    "paper-architectures": lambda: cross_arch.table(read_results("cross_arch"), least=5),
    "paper-continual": lambda: continual_gdumb.table(read_results("continual_gdumb")),
    "paper-search": lambda: nas.table(read_results("nas")),
    "imagenet-plan": cost_tables.imagenet_plan,
    "time": budgets,
    "nested-digits": lambda: cost_tables.nested("digits", "digits, 600 iterations"),
    "nested-cifar10": lambda: cost_tables.nested("cifar10", "CIFAR-10, 200 iterations"),
    "scaling": cost_tables.scaling,
    "speed": partial(cost_tables.speed, "cpu", "seconds"),
    "speed-gpu": partial(cost_tables.speed, "gpu", "milliseconds"),
    "big-data": cost_tables.big_data,
    "current-images": cost_tables.current_images,
}
