"""The paper's main table: test accuracy of networks trained on a condensed set alone, beside coresets.

    python benchmarks/offline.py --ipc 1 10 50 --iterations 20000 --epochs 1000 --runs 20 --seeds 0 1 2 3 4
    python benchmarks/offline.py --quick --dataset mnist --ipc 1 10      # --seconds, --steps, --runs: over its own

The first is the paper's protocol for CIFAR-10 (hours on a GPU; days on two cores), the second minutes on two
cores: a minute of condensing, 300 steps of training, one network. All methods take the bytes of ``--ipc`` raw images a
class: ``dm`` is the paper's objective and schedule in 8 bits, ``fast`` and ``plus`` are this library's. ``dm`` has the
paper's learning rate (section 4 and the official code): 1, and 10 for CIFAR-10 from 100 images a class on. The
ConvNet has the paper's three layers at 32 pixels and four at 64.

Each cell is a set (its seed) and some networks, written to results/offline.json after each network; runs that were
stopped go on. Sets are kept in runs/sets.
"""

import argparse
from collections.abc import Iterator
from functools import partial

from common import add_evaluation, fill, markdown, networks, parsed, schedule_of, spread, trained_for
from sets import CONDENSED, METHODS, Budget, described, made
from targets import published

from dm_replay import load_dataset
from dm_replay.data.registry import Dataset
from dm_replay.runtime import hardware

USUAL = ["random", "herding", "k-means", "shrunk 4", "dm", "fast"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument(
        "--ipc", type=int, nargs="+", default=[10], help="raw images a class whose bytes a set may take"
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=USUAL, metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the sets; the paper has 5")
    parser.add_argument("--network", default="convnet", help="that condenses and is trained")
    parser.add_argument("--quick", action="store_true", help="a minute of condensing, 300 steps, one network")
    Budget.add_to(parser)
    add_evaluation(parser)
    options = parsed(parser, seconds=60.0, steps=300, runs=1)
    hardware.keep_memory()
    data, budget = load_dataset(options.dataset), Budget.of(options)
    cells = {
        key_of(method, ipc, seed, budget, options): partial(measure, method, ipc, seed, data, budget, options)
        for ipc in options.ipc
        for method in options.methods
        for seed in options.seeds
    }
    print(table(fill("offline", cells, options)))


def key_of(method: str, ipc: int, seed: int, budget: Budget, options: argparse.Namespace) -> str:
    how = f"{method} {budget}" if method in CONDENSED else method
    return f"{options.dataset}, ipc {ipc}, {how}, {options.network}, {schedule_of(options)}, set {seed}"


def measure(
    method: str, ipc: int, seed: int, data: Dataset, budget: Budget, options: argparse.Namespace, cell: dict | None
) -> Iterator[dict]:
    """The cell after each network that it lacks."""
    network = {"network": options.network} if method in CONDENSED else {}
    kept = made(method, data, ipc, budget, seed, **network)
    about = described(kept, options.dataset, method, ipc, budget, seed) | {"network": options.network}
    for evaluation in networks(kept, data.test, options, options.network, cell, seed=seed):
        yield about | evaluation


def table(results: dict) -> str:
    """Datasets, ipc and schedules by methods, with what the paper has for DM, as Markdown."""
    methods = [method for method in METHODS if any(cell["method"] == method for cell in results.values())]
    rows = []
    for dataset, ipc, network, schedule in sorted(set(map(_row_of, results.values()))):
        own = [cell for cell in results.values() if _row_of(cell) == (dataset, ipc, network, schedule)]
        entries = [_entry([cell for cell in own if cell["method"] == method]) for method in methods]
        theirs = published("offline", dataset=dataset, ipc=ipc, method="dm", network=network)
        title = f"{dataset}, {ipc}" + ("" if network == "convnet" else f", {network}")
        rows.append([title, schedule, *entries, f"*{theirs}*" if theirs else ""])
    return markdown(["dataset, ipc", "trained for", *methods, "*paper: dm*"], rows)


def _row_of(cell: dict) -> tuple[str, int, str, str]:
    return cell["dataset"], cell["ipc"], cell["network"], trained_for(cell)


def _entry(cells: list[dict]) -> str:
    """The accuracies of a method, with what condensing took where it did."""
    entries = []
    for budget in dict.fromkeys(cell["budget"] for cell in cells):
        found = spread([accuracy for cell in cells if cell["budget"] == budget for accuracy in cell["accuracies"]])
        entries.append(f"{found} ({budget})" if budget else found)
    return "; ".join(entries)


if __name__ == "__main__":
    main()
