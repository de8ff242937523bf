"""Where condensed replay pays: memories of the same bytes in a class-incremental stream.

    python benchmarks/split_cifar100.py --quick              # 5 experiences, 5 s of condensing: a quarter of an hour
    python benchmarks/split_cifar100.py --images 100 200 500 1000 --seeds 0 1     # two hours
    python benchmarks/split_cifar100.py --dataset cifar10 --experiences 5 --network resnet18:width=20

An Avalanche ``Naive`` strategy trains a network on experiences of as many classes each, and replays from a memory of
the bytes of ``--images`` raw images (pixels and whatever decoding needs; labels apart). Every mini-batch, current
images and replayed ones alike, is augmented by the strategy, so that memories differ in nothing but what they hold:

- ``naive`` has none, ``joint`` trains on all classes at once, for as many epochs as each experience has;
- ``stock`` is Avalanche's ``ReplayPlugin``, which keeps random whole images; ``herding`` herded ones;
- ``shrunk`` herded images at 8 x 8, ``webp`` at 16 x 16 as WebP, ``code`` in the code of the condensed ones (16 x 16 in
  mosaics, 4 bits, color at a quarter of the resolution: 21 images in the bytes of one), ``code whole`` in that code at
  32 x 32 (five in the bytes of one);
- ``fast`` and ``plus`` condensed images in that code, ``fast whole`` at 32 x 32, ``mixed`` half condensed, half herded;
- ``gdumb …`` trains on the memory alone, from scratch after each experience.

What a memory holds depends on the stream alone: it is made once, kept in runs/split and used again with another network
or number of epochs. Networks with BatchNorm see half of the current images at the memory's resolution, unless
``--resampled 0``. Cells are written to results/split_<dataset>.json as they are done and not run again. The pictures
show accuracy over experiences and over bytes.
"""

import argparse
import time
import warnings
from collections.abc import Sequence

import torch
from common import command, here, parsed, read_results, write_cell
from stream_learner import TESTED_AT_ONCE, augmenting, split, untrained
from stream_memories import MEMORIES, bytes_of, condensing, memory_of
from stream_report import draw, table

from dm_replay import load_dataset, stream_metrics
from dm_replay.data.registry import Dataset
from dm_replay.runtime import hardware

METHODS = ["naive", "joint", "stock", *MEMORIES, *(f"gdumb {name}" for name in MEMORIES)]
PROTOCOL = ("dataset", "experiences", "network", "epochs", "batch", "replay", "lr", "momentum", "seconds")
QUICK = ["naive", "stock", "herding", "shrunk", "webp", "code", "fast"]


def main():
    options = parsed(options_of(__doc__), seconds=5.0, experiences=5)
    name = f"split_{options.dataset}"
    run(name, options)
    results = read_results(name)
    draw(name, alike(results, options, but=["network"]))
    print(table(alike(results, options)))


def options_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar100")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=QUICK, metavar="METHOD")
    parser.add_argument("--images", type=int, nargs="+", default=[200], help="raw ones whose bytes a memory may take")
    parser.add_argument("--experiences", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the class order and all else")
    parser.add_argument("--network", default="convnet:width=64", help="that is trained")
    parser.add_argument("--epochs", type=int, default=1, help="of training on each experience")
    parser.add_argument("--batch", type=int, default=64, help="current images of a mini-batch")
    parser.add_argument("--replay", type=int, default=192, help="replayed images of a mini-batch")
    parser.add_argument("--resampled", type=float, help="part of the current images; half where there is BatchNorm")
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seconds", type=float, default=10.0, help="of condensing after each experience")
    parser.add_argument("--quick", action="store_true", help="less of everything, as said above")
    return parser


def alike(results: dict, options: argparse.Namespace, but: Sequence[str] = ()) -> list[dict]:
    """The cells whose protocol is that of the options but for names in ``but``, of any method, size and seed."""
    asked = {name: getattr(options, name) for name in PROTOCOL if name not in but}

    def fits(cell: dict) -> bool:
        settings = {"resampled": 0.0} | cell["settings"]
        if not condensing(cell["method"]):
            settings["seconds"] = options.seconds  # which means nothing to it
        resampled = resampled_of(cell["method"], settings["network"], options.resampled)
        return asked.items() <= settings.items() and ("resampled" in but or settings["resampled"] == resampled)

    return [cell for cell in results.values() if fits(cell)]


def resampled_of(method: str, network: str, asked: float | None) -> float:
    """The part of the current images that a method's plugin brings to the resolution of its memory."""
    if method not in MEMORIES or method == "webp":
        return 0.0
    return (0.5 if "norm=batch" in network else 0.0) if asked is None else asked


def run(name: str, options: argparse.Namespace) -> None:
    """All cells that are asked for; those that are new are written to results/<name>.json."""
    hardware.keep_memory()
    data, results = load_dataset(options.dataset), read_results(name)
    for seed in options.seeds:
        for images in options.images:
            for method in options.methods:
                key = key_of(method, images, seed, options)
                if key not in results:
                    try:
                        results[key] = measure(method, images, seed, data, options)
                    except ValueError as error:  # as where a memory cannot hold an image of each class
                        print(f"left out: {key}: {error}", flush=True)
                        continue
                    results = write_cell(name, key, results[key])
                print(row(key, results[key]), flush=True)


def key_of(method: str, images: int, seed: int, options: argparse.Namespace) -> str:
    size = "" if method in ("naive", "joint") else f"{images} images' bytes, "
    made = f"{options.seconds:g} s, " if condensing(method) else ""
    batch = f"batches of {options.batch} + {options.replay}, lr {options.lr:g}, momentum {options.momentum:g}"
    stream = f"{options.experiences} experiences, {options.epochs} epochs, {batch}"
    resampled = resampled_of(method, options.network, options.resampled)
    shown = f", {resampled:g} resampled" if resampled else ""
    return f"{method}, {size}{made}{stream}{shown}, {options.network}, seed {seed}"


def measure(method: str, images: int, seed: int, data: Dataset, options: argparse.Namespace) -> dict:
    """A cell: what is left of each experience after each, and what it took."""
    warnings.filterwarnings("ignore")
    joint = method == "joint"
    stream = split(data, options.experiences, seed, joint)
    resampled = resampled_of(method, options.network, options.resampled)
    plugins, buffer = memory_of(method, images, seed, resampled, data, options)
    metrics = stream_metrics()
    learner = learner_of([*plugins, augmenting(data, seed)], metrics, seed, data, options)
    made, sizes, seconds = [], [], 0.0
    for experience in stream.train_stream:
        started = time.perf_counter()
        learner.train(experience)
        seconds += time.perf_counter() - started - getattr(buffer, "spent", 0.0)
        made.append(getattr(buffer, "seconds", 0.0))
        sizes.append(bytes_of(buffer, data))
        learner.eval(stream.test_stream)
    (metric,) = metrics
    average = float(metric.matrix[-1].mean())
    of_joint = {"AverageAccuracy": average, "AverageIncrementalAccuracy": average}
    return {
        "method": method,
        "images": images,
        "seed": seed,
        "matrix": metric.matrix.tolist(),
        **(of_joint if joint else metric.result()),
        "bytes": sizes,
        "condensing_seconds": made,
        "training_seconds": seconds,
        "settings": {name: getattr(options, name) for name in PROTOCOL} | {"resampled": resampled},
        "command": command(),
        **here(),
    }


def learner_of(plugins: list, metrics: list, seed: int, data: Dataset, options: argparse.Namespace):
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    torch.manual_seed(seed)
    network = untrained(options.network, data, seed)
    return Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), options.lr, options.momentum, weight_decay=5e-4),
        train_mb_size=options.batch,
        train_epochs=options.epochs,
        eval_mb_size=TESTED_AT_ONCE,
        plugins=plugins,
        evaluator=EvaluationPlugin(*metrics, loggers=[]),
    )


def row(key: str, result: dict) -> str:
    average, steady = result["AverageAccuracy"], result["AverageIncrementalAccuracy"]
    forgot = f", forgetting {100 * result['Forgetting']:5.1f}" if "Forgetting" in result else ""
    return f"{100 * average:5.1f} at the end, {100 * steady:5.1f} on average{forgot}   {key}: {time_of(result)}"


def time_of(result: dict) -> str:
    made = sum(result["condensing_seconds"])
    return f"{result['training_seconds']:.0f} s of training" + (f", {made:.0f} s for the memory" if made >= 1 else "")


if __name__ == "__main__":
    main()
