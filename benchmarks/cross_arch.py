"""Does it hold on other networks? Sets condensed with one architecture, networks of every other trained on them.

    python benchmarks/cross_arch.py --methods dm --iterations 20000 --epochs 1000 --runs 5
    python benchmarks/cross_arch.py --quick                                # minutes a cell on two cores

The first is as the paper has it (CIFAR-10, fifty images a class; here in 8 bits with a range for each channel), the
second ten images a class, a minute of condensing and 300 steps. Cells go to results/cross_arch.json after each network;
the table has a row for each network that condensed.
"""

import argparse
from collections.abc import Iterator
from functools import partial

from common import add_evaluation, fill, markdown, networks, parsed, schedule_of, spread, trained_for
from sets import CONDENSED, Budget, described, made
from targets import targets

from dm_replay import load_dataset
from dm_replay.data.registry import Dataset
from dm_replay.runtime import hardware

LEARNED = ["convnet", "convnet:norm=batch", "alexnet", "vgg11", "resnet18"]
TRAINED = ["convnet", "alexnet", "vgg11", "resnet18", "convnet:norm=batch"]
REAL = "our code, herding"  # the rival that no network has learned; "none" condenses it


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=50, help="raw images a class whose bytes a set may take")
    parser.add_argument("--methods", nargs="+", choices=[*CONDENSED, REAL], default=["dm", "fast", REAL])
    parser.add_argument("--learned", nargs="+", default=LEARNED, metavar="NETWORK", help="to condense with")
    parser.add_argument("--trained", nargs="+", default=TRAINED, metavar="NETWORK", help="on the sets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the sets")
    parser.add_argument("--quick", action="store_true", help="ten images a class, a minute, 300 steps, one network")
    Budget.add_to(parser)
    add_evaluation(parser)
    options = parsed(parser, ipc=10, seconds=60.0, steps=300, runs=1)
    hardware.keep_memory()
    data, budget = load_dataset(options.dataset), Budget.of(options)
    cells = {
        key_of(method, learned, trained, seed, budget, options): partial(
            measure, method, learned, trained, seed, data, budget, options
        )
        for method in options.methods
        for learned in (options.learned if method in CONDENSED else ["none"])
        for trained in options.trained
        for seed in options.seeds
    }
    print(table(fill("cross_arch", cells, options)))


def key_of(method: str, learned: str, trained: str, seed: int, budget: Budget, options: argparse.Namespace) -> str:
    how = f"{method} {budget} with {learned}" if method in CONDENSED else method
    return f"{options.dataset}, ipc {options.ipc}, {how}, {trained} trained, {schedule_of(options)}, set {seed}"


def measure(
    method: str,
    learned: str,
    trained: str,
    seed: int,
    data: Dataset,
    budget: Budget,
    options: argparse.Namespace,
    cell: dict | None,
) -> Iterator[dict]:
    """The cell after each network that it lacks."""
    network = {"network": learned} if method in CONDENSED else {}
    kept = made(method, data, options.ipc, budget, seed, **network)
    about = described(kept, options.dataset, method, options.ipc, budget, seed)
    about |= {"learned": learned, "network": trained}
    for evaluation in networks(kept, data.test, options, trained, cell, seed=seed):
        yield about | evaluation


def table(results: dict, least: int = 1) -> str:
    """What condensed, by networks that were trained, with the paper's figures, as Markdown.

    Args:
        least: networks that a row has, or it is left out.
    """
    trained = list(dict.fromkeys(cell["network"] for cell in results.values()))
    rows = []
    for row in dict.fromkeys(map(_row_of, results.values())):
        cells = [cell for cell in results.values() if _row_of(cell) == row]
        by_network = [[cell for cell in cells if cell["network"] == network] for network in trained]
        if sum(map(bool, by_network)) < least:
            continue
        rows.append([*row, *(spread([one for cell in own for one in cell["accuracies"]]) for own in by_network)])
    datasets = {cell["dataset"] for cell in results.values()}
    theirs = [target for target in targets() if target.table == "cross_arch" and target.dataset in datasets]
    for method, ipc in dict.fromkeys((target.method, target.ipc) for target in theirs):
        found = {target.network: f"*{target}*" for target in theirs if (target.method, target.ipc) == (method, ipc)}
        rows.append([f"*paper: {method}*", str(ipc), "1000 epochs", *(found.get(network, "") for network in trained)])
    return markdown(["condensed by", "bytes of", "trained for", *trained], rows)


def _row_of(cell: dict) -> tuple[str, str, str]:
    title = f"{cell['method']}, {cell['learned']}, {cell['budget']}" if cell["budget"] else cell["method"]
    return title, str(cell["ipc"]), trained_for(cell)


if __name__ == "__main__":
    main()
