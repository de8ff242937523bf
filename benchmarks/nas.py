"""Neural architecture search as the paper does it: does a small set rank networks as the whole data does?

    python benchmarks/nas.py --iterations 20000                            # the paper's 720 networks
    python benchmarks/nas.py --quick                                       # 24 of them; hours on two cores

The space: ConvNets of depth 1 to 4, width 32 to 256, three activations, five normalizations, three poolings. Each is
trained on proxy sets in the bytes of fifty CIFAR-10 images a class, for as many steps as 200 epochs of whole images
make, on the whole data for as many ("early stopping"), and on the whole data for --whole-steps ("whole"; 20,000 are 102
epochs). A proxy is judged by Spearman's correlation of its ranking with the whole data's, over all networks and over
the half that is best on the whole data (the paper's is over its "top" ones, without a number), by the whole-data
accuracy of the network that it ranks first, and by its time.

Cells, one for each network and proxy, go to results/nas.json as they are done and are not run again.
"""

import argparse
import itertools
from collections.abc import Iterator
from functools import partial
from statistics import mean

import torch
from common import fill, markdown, networks, parsed, title_of, trained_for
from sets import CONDENSED, METHODS, Budget, described, made
from targets import published

from dm_replay import build_network, load_dataset
from dm_replay.coresets.config import ExemplarConfig
from dm_replay.coresets.random import random_exemplars
from dm_replay.data.registry import Dataset
from dm_replay.runtime import hardware
from dm_replay.runtime.seeding import new_generator

SPACE = {
    "depth": (1, 2, 3, 4),
    "width": (32, 64, 128, 256),
    "activation": ("sigmoid", "relu", "leakyrelu"),
    "norm": ("none", "batch", "layer", "instance", "group"),
    "pooling": ("none", "max", "avg"),
}
WHOLE, EARLY = "whole", "early stopping"
USUAL = ["random", "our code, herding", "dm", "fast"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=50, help="raw images a class, for the bytes of a proxy")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=USUAL, metavar="METHOD")
    parser.add_argument("--subsample", type=int, help="networks of the space, drawn at random; all by default")
    parser.add_argument("--widest", type=int, default=256, help="no wider networks, where time is short")
    parser.add_argument("--steps", type=int, help="on every proxy; by default 201 passes over whole images")
    parser.add_argument("--whole-steps", type=int, default=20_000, help="on the whole data")
    parser.add_argument("--whole-images", type=int, help="of each class, for the whole data; as many as all have")
    parser.add_argument("--runs", type=int, default=1, help="times that each network is trained")
    parser.add_argument("--quick", action="store_true", help="24 networks up to width 64, 300 steps, 1500 on the whole")
    Budget.add_to(parser)
    options = parsed(parser, subsample=24, widest=64, steps=300, whole_steps=1500)
    hardware.keep_memory()
    data, budget = load_dataset(options.dataset), Budget.of(options)
    options.steps = options.steps or 201 * -(-options.ipc * len(data.train.classes) // 256)
    proxies = [*options.methods, EARLY, WHOLE]
    cells = {
        key_of(proxy, network, budget, options): partial(measure, proxy, network, data, budget, options)
        for network in subsample(space(options.widest, data.spec.shape), options.subsample)
        for proxy in proxies
    }
    print(table(fill("nas", cells, options)))


def space(widest: int = 256, image_shape: tuple[int, int, int] = (3, 32, 32)) -> list[str]:
    """The names of its networks that fit the images."""
    combined = [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]
    narrow = [options for options in combined if int(options["width"]) <= widest]
    names = ["convnet:" + ",".join(f"{name}={value}" for name, value in options.items()) for options in narrow]
    return [name for name in names if _fits(name, image_shape)]


def _fits(network: str, image_shape: tuple[int, int, int]) -> bool:
    try:
        with torch.device("meta"):
            build_network(network, image_shape, 1)
    except ValueError:
        return False
    return True


def subsample(names: list[str], count: int | None) -> list[str]:
    """So many of them, always the same ones; more hold those of fewer."""
    order = torch.randperm(len(names), generator=new_generator(0, "nas")).tolist()
    return [names[number] for number in order[:count]]


def key_of(proxy: str, network: str, budget: Budget, options: argparse.Namespace) -> str:
    size = f"ipc {options.ipc}"
    if proxy in (WHOLE, EARLY):
        size = f"{options.whole_images or 'all'} images a class"
    how = f"{proxy} {budget}" if proxy in CONDENSED else proxy
    return f"{options.dataset}, {size}, {how}, {steps_of(proxy, options)} steps, {network}"


def steps_of(proxy: str, options: argparse.Namespace) -> int:
    return options.whole_steps if proxy == WHOLE else options.steps


def measure(
    proxy: str, network: str, data: Dataset, budget: Budget, options: argparse.Namespace, cell: dict | None
) -> Iterator[dict]:
    """The cell after each network that it lacks."""
    how = argparse.Namespace(runs=options.runs, steps=steps_of(proxy, options), epochs=None)
    if proxy in (WHOLE, EARLY):
        each = options.whole_images or int(data.train.counts.min())
        kept = random_exemplars(data.train, ExemplarConfig(each))
    else:
        each, kept = options.ipc, made(proxy, data, options.ipc, budget)
    about = described(kept, options.dataset, proxy, each, budget, 0) | {"network": network}
    for evaluation in networks(kept, data.test, how, network, cell):
        yield about | evaluation


def table(results: dict) -> str:
    """Proxies by what they are judged by, with the paper's figures, as Markdown."""
    groups: dict[tuple, dict[str, dict]] = {}
    for cell in results.values():
        groups.setdefault((cell["method"], cell["budget"], trained_for(cell)), {})[cell["network"]] = cell
    most = max((key for key in groups if key[0] == WHOLE), key=lambda key: len(groups[key]))
    whole = {network: cell["mean"] for network, cell in groups[most].items()}
    rows = [_row(key, cells, whole) for key, cells in groups.items()]
    head = ["proxy", "networks", "trained for", "correlation", "of the better half", "accuracy of the pick, %"]
    return markdown([*head, "seconds a network", "*paper's correlation*", "*accuracy*"], rows)


def _row(key: tuple, cells: dict[str, dict], whole: dict[str, float]) -> list[str]:
    proxy, _, schedule = key
    found = {network: cell["mean"] for network, cell in cells.items() if network in whole}
    better = sorted(found, key=whole.__getitem__)[len(found) // 2 :]
    ranks = [f"{_spearman(found, whole, among):.2f}" for among in (list(found), better)]
    pick = max(found, key=found.__getitem__)
    seconds = mean(cells[network]["evaluation_seconds"] for network in found)
    theirs = [
        published(f"nas {what}", dataset=cells[pick]["dataset"], method=proxy) for what in ("correlation", "accuracy")
    ]
    row = [title_of(cells[pick]), str(len(found)), schedule, *ranks, f"{whole[pick]:.1f}", f"{seconds:.0f}"]
    return [*row, *(f"*{target}*" if target else "" for target in theirs)]


def _spearman(first: dict[str, float], second: dict[str, float], among: list[str]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr([first[name] for name in among], [second[name] for name in among]).statistic)


if __name__ == "__main__":
    main()
