"""Memories of the same bytes in streams: where condensed replay pays.

    python -m benchmarks.streams split --images 100 200 500 1000 --seed 0 1                  # two hours
    python -m benchmarks.streams split --dataset cifar10 --experiences 5 --network resnet18:width=20
    python -m benchmarks.streams online --images 100 500 1000
    python -m benchmarks.streams ordinary

``split``: experiences of as many classes each. Every mini-batch, current and replayed images alike, is augmented by the
strategy, so that memories differ in nothing but what they hold. ``online`` is the same by SSD's protocol (AAAI 2024):
seen once, ten images at a time; it has supervised contrastive replay and the nearest class mean, where this has
experience replay with the network's own output layer and a memory that is filled after each experience. ``ordinary``:
digits in streams that people have: classes that return, domains, blurry and hidden boundaries.

A memory has the bytes of ``--images`` raw images (pixels and whatever decoding needs; labels apart). Methods:

- REDUCER/CODEC, as sets.py has them: the plugin with such a memory; ``gdumb REDUCER/CODEC`` trains on it alone;
- ``stock``, ``reservoir``, ``balanced``: Avalanche's ``ReplayPlugin`` with its usual buffer and two others;
- ``naive`` has no memory; ``joint`` trains on all classes at once, for as many epochs as each experience has;
- ``oracle/CODEC`` replays all images of the classes before, as the codec keeps them: what a memory can reach at best.

What a memory holds depends on the stream alone: it is made once, kept in runs/split and used again with another network
or number of epochs. Networks with BatchNorm see half of the current images at the memory's resolution unless
``--match-resolution 0``. Rows go to results/GRID.jsonl as they are done, and none is measured again.
"""

import functools
import time
import warnings
from collections.abc import Iterator, Sequence

from dm_replay import load_dataset, stream_metrics
from dm_replay.data.registry import Dataset

from .runner import Grid, run
from .sets import condensing, named
from .stream_data import ONLINE, STREAMS, stream_of
from .stream_learner import augmenting, learner_of
from .stream_memories import ORACLE, PLAIN, bytes_of, memory_of
from .stream_tables import DRAWN, TABLES

__all__ = ["GRIDS", "main"]

QUICK = ["naive", "stock", "herding", "herding/quarter", "herding/dct", "fast"]
TESTED = ["incremental_accuracy", "forgetting", "backward_transfer"]
SIZES = [100, 500, 1000, 2000]


def main(argv: Sequence[str] | None = None) -> None:
    warnings.filterwarnings("ignore")
    run(GRIDS, __doc__, measured, TABLES, DRAWN, argv)


def settled(cell: dict) -> list[dict]:
    """The cell without what its method has no use for."""
    cell = dict(cell)
    gdumb, method = cell["method"].startswith("gdumb "), cell["method"].removeprefix("gdumb ")
    if method.startswith(ORACLE):
        cell |= {"method": ORACLE + named(method.replace(ORACLE, "random")).removeprefix("random")}
        cell |= {"learned": None, "images": None}
    elif method in PLAIN:
        cell |= {"learned": None, "match_resolution": 0.0}
        cell["images"] = None if method in ("naive", "joint") else cell["images"]
    else:
        cell["method"] = "gdumb " * gdumb + named(method)
        cell["learned"] = cell["learned"] or ("convnet" if condensing(method) else "convnet:width=64")
    if gdumb or method in PLAIN:
        cell["match_resolution"] = 0.0
    elif cell["match_resolution"] is None:
        cell["match_resolution"] = 0.5 if "norm=batch" in cell["network"] else 0.0
    if not condensing(method):
        cell |= {"seconds_allowed": None, "iterations": None}
    return [cell]


def as_people_have_them(cell: dict) -> list[dict]:
    """The cell with the batches that its stream has; larger memories only online, replay plain only of others."""
    online = cell["stream"] in ONLINE
    plain = cell["method"] in PLAIN
    if not online and cell["images"] > SIZES[0] or plain and cell["augment"] == "replay":
        return []
    batch, epochs = (10, 1) if online else (16, 4)
    return settled({**cell, "batch": batch, "replay": batch, "epochs": epochs})


def measured(cell: dict, first: int, runs: int) -> Iterator[list[dict]]:
    """The row of a cell: what is left of each experience after each, or at the end, and what it took."""
    data, seed = _loaded(cell["dataset"]), cell["seed"]
    stream = stream_of(cell, data)
    plugins, buffer = memory_of(cell, data)
    if cell["augment"] == "strategy":
        plugins.append(augmenting(data, seed))
    metrics = stream_metrics()
    learner = learner_of(cell, plugins, metrics, data)
    made, sizes, seconds = [], [], 0.0
    for number, experience in enumerate(stream.train_stream, 1):
        started = time.perf_counter()
        learner.train(experience)
        seconds += time.perf_counter() - started - getattr(buffer, "spent", 0.0)
        if cell["stream"] == "classes" or number == len(stream.train_stream):
            made.append(getattr(buffer, "seconds", 0.0))
            sizes.append(bytes_of(buffer, data))
            learner.eval(stream.test_stream)
    (metric,) = metrics
    matrix = 100 * metric.matrix.double()
    names = ("AverageIncrementalAccuracy", "Forgetting", "BackwardTransfer")
    result = metric.result() if len(matrix) > 1 else {}
    known = {to: 100 * result[name] for to, name in zip(TESTED, names, strict=True) if name in result}
    if cell["stream"] == "classes":
        known |= {"memory_seconds": made, "bytes_each": sizes}
    accuracy = float(matrix[-1].mean())
    yield [{**cell, "accuracy": accuracy, **known, "matrix": matrix.tolist(), "bytes": max(sizes), "seconds": seconds}]


@functools.cache
def _loaded(name: str) -> Dataset:
    return load_dataset(name)


SPLIT = {"stream": ["classes"], "dataset": ["cifar100"], "experiences": [10], "seed": [0], "images": [200]}
SPLIT |= {
    "method": QUICK,
    "learned": [None],
    "network": ["convnet:width=64"],
    "epochs": [1],
    "batch": [64],
    "replay": [192],
}
SPLIT |= {"match_resolution": [None], "augment": ["strategy"], "lr": [0.03], "momentum": [0.9], "weight_decay": [5e-4]}
SPLIT |= {"replay": [192], "seconds_allowed": [10.0], "iterations": [None]}
GRIDS = {
    "split": Grid(
        "classes in experiences of as many each",
        SPLIT,
        settled,
        {"experiences": [5], "seconds_allowed": [5.0]},
    ),
    "online": Grid(
        "the same seen once, ten images at a time, beside what SSD's authors published",
        SPLIT
        | {"images": [100, 500], "method": ["stock", "herding/quarter", "herding/dct", "fast"]}
        | {"network": ["resnet18:width=20,norm=batch"], "batch": [10], "replay": [100], "lr": [0.1], "momentum": [0.0]},
        settled,
        {"images": [100], "seconds_allowed": [5.0]},
    ),
    "ordinary": Grid(
        "digits in streams that people have, the plugin beside Avalanche's buffers",
        {name: values for name, values in SPLIT.items() if name not in ("experiences", "epochs", "batch", "replay")}
        | {"dataset": ["digits"], "seed": [0, 1, 2, 3], "stream": [*STREAMS], "images": SIZES}
        | {"method": ["fast/8bit", "herding/8bit", "reservoir", "balanced"], "augment": ["replay", "none"]}
        | {"learned": ["convnet:width=16"], "network": ["convnet:width=32"], "match_resolution": [0.5]}
        | {"lr": [0.1], "momentum": [0.0], "weight_decay": [0.0], "seconds_allowed": [None], "iterations": [30]},
        as_people_have_them,
        {"seed": [0], "images": [100]},
    ),
}


if __name__ == "__main__":
    main()
