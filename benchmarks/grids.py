"""The grids of networks.py: which networks are trained on which sets, by name."""

import functools
import itertools
from collections.abc import Iterable, Mapping

import torch

from dm_replay import build_network, load_dataset
from dm_replay.runtime.seeding import new_generator

from .runner import Grid
from .sets import EARLY, WEIGHTINGS, WHOLE, condensing, named

__all__ = ["GRIDS", "SCHEDULE", "space", "subsample"]

SCHEDULE = ("steps", "epochs")
THE_SAME = "that is trained"
SPACE = {  # the paper's, of architecture search
    "depth": (1, 2, 3, 4),
    "width": (32, 64, 128, 256),
    "activation": ("sigmoid", "relu", "leakyrelu"),
    "norm": ("none", "batch", "layer", "instance", "group"),
    "pooling": ("none", "max", "avg"),
}


def settled(cell: dict) -> list[dict]:
    """The cell without what its method has no use for."""
    cell = dict(cell)
    if cell["method"] not in (WHOLE, EARLY):
        cell["method"] = named(cell["method"])
    if cell["learned"] == THE_SAME:
        cell["learned"] = cell["network"]
    if not condensing(cell["method"]):
        cell |= {"learned": None, "seconds_allowed": None, "iterations": None}
    if cell["iterations"]:
        cell["seconds_allowed"] = None
    if cell["epochs"]:
        cell["steps"] = None
    return [cell]


def each_step(cell: dict) -> Iterable[dict]:
    """A cell for each step of a stream; the number of the order is its sets' seed."""
    for step in range(1, cell["steps_of_classes"] + 1):
        yield from settled({**cell, "seed": cell["order"], "step": step})


def early_enough(cell: dict) -> Iterable[dict]:
    """The cell unless its iteration is after the end of the run."""
    return settled(cell) if cell["at"] <= cell["iterations"] else []


def each_prefix(cell: dict) -> Iterable[dict]:
    """The cell with the method that its weighting takes."""
    return settled({**cell, "method": "random" if cell["weighting"] == "random" else "paper"})


def each_network(cell: dict) -> Iterable[dict]:
    """A cell for each network of the space, or of a subsample."""
    cell = dict(cell)
    widest, count, longer, images = (cell.pop(name) for name in ("widest", "subsample", "whole_steps", "whole_images"))
    if cell["method"] in (WHOLE, EARLY):
        cell |= {"ipc": images, "steps": longer if cell["method"] == WHOLE else cell["steps"]}
    for network in subsample(space(widest, load_dataset(cell["dataset"]).spec.shape), count):
        yield from settled({**cell, "network": network})


@functools.cache
def space(widest: int = 256, image_shape: tuple[int, int, int] = (3, 32, 32)) -> list[str]:
    """The names of the networks of architecture search that fit the images."""
    combined = [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]
    narrow = [options for options in combined if int(options["width"]) <= widest]
    names = ["convnet:" + ",".join(f"{name}={value}" for name, value in options.items()) for options in narrow]
    return [name for name in names if _fits(name, image_shape)]


def subsample(names: list[str], count: int | None) -> list[str]:
    """So many of them, always the same ones; more hold those of fewer."""
    order = torch.randperm(len(names), generator=new_generator(0, "nas")).tolist()
    return [names[number] for number in order[:count]]


def _fits(network: str, image_shape: tuple[int, int, int]) -> bool:
    try:
        with torch.device("meta"):
            build_network(network, image_shape, 1)
    except ValueError:
        return False
    return True


def _axes(own: Mapping[str, list]) -> dict[str, list]:
    """The axes that every grid has, with its own values or the usual ones, and others of its own."""
    usual = {"dataset": ["cifar10"], "ipc": [10], "method": ["paper", "fast"], "seed": [0], "learned": ["convnet"]}
    usual |= {"network": ["convnet"], "seconds_allowed": [180.0], "iterations": [None], "steps": [400]}
    return usual | {"epochs": [None]} | dict(own)


REAL = ["random", "herding", "random/dct", "herding/dct", "random/half", "herding/half", "random/quarter"]
ARCHITECTURES = ["convnet", "alexnet", "vgg11", "resnet18", "convnet:norm=batch"]
MINUTE = {"seconds_allowed": [60.0], "steps": [300]}
GRIDS = {
    "offline": Grid(
        "the paper's main table: coresets and condensed sets; its protocol is --ipc 1 10 50 --iterations 20000 "
        "--epochs 1000 --runs 20 --seed 0 1 2 3 4",
        _axes({"method": ["random", "herding", "kmeans", "random/quarter", "paper", "fast"], "learned": [THE_SAME]}),
        settled,
        MINUTE,
    ),
    "equal_bytes": Grid(
        "what a network learns from the same bytes: real images whole, shrunk and coded beside condensed ones",
        _axes({"method": [*REAL, "paper", "fast"]}),
        settled,
        MINUTE,
    ),
    "efficiency": Grid("accuracy over seconds of condensing", _axes({}), settled, MINUTE),
    "iterations": Grid(
        "accuracy over iterations of one run, at 1, 3, 10, 30 and so on; fast and plus lower their rate over all of it",
        _axes({"iterations": [1000], "at": [1, 10, 100, 1000], "seconds_allowed": [None]}),
        early_enough,
        {"iterations": [100], "at": [1, 10, 30, 100], "steps": [300]},
    ),
    "nested": Grid(
        "prefixes of a set of ten images a class, under several weightings of prefixes",
        _axes(
            {"dataset": ["digits"], "method": ["paper"], "seed": [0, 1, 2], "seconds_allowed": [None]}
            | {"weighting": [*WEIGHTINGS], "length": [1, 2, 5, 10], "iterations": [600], "epochs": [300]}
        ),
        each_prefix,
        {"iterations": [60], "epochs": [30], "seed": [0]},
        runs=3,
    ),
    "cross_arch": Grid(
        "sets condensed with one architecture, networks of every other trained on them",
        _axes(
            {"ipc": [50], "method": ["paper", "fast", "herding/dct"]}
            | {"learned": ARCHITECTURES, "network": ARCHITECTURES}
        ),
        settled,
        MINUTE | {"ipc": [10]},
    ),
    "continual": Grid(
        "the paper's continual learning: a memory that grows, a fresh network trained on it alone at each step; its "
        "protocol is --order 0 1 2 3 4 --iterations 20000 --epochs 1000 --runs 3, of 5 and of 10 steps",
        _axes(
            {"dataset": ["cifar100"], "ipc": [20], "method": ["random", "herding", "herding/dct", "paper", "fast"]}
            | {"learned": [THE_SAME], "order": [0], "steps_of_classes": [5]}
        ),
        each_step,
        {"seconds_allowed": [30.0], "steps": [300]},
    ),
    "nas": Grid(
        "the paper's architecture search: how sets rank 720 networks, beside all images, for as long (early stopping) "
        "and for --whole-steps (20000 are 102 epochs)",
        _axes(
            {"ipc": [50], "method": ["random", "herding/dct", "paper", "fast", EARLY, WHOLE], "steps": [402]}
            | {"subsample": [None], "widest": [256], "whole_steps": [20_000], "whole_images": [None]}
        ),
        each_network,
        {"subsample": [24], "widest": [64], "steps": [300], "whole_steps": [1500]},
    ),
}
