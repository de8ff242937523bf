"""Continual learning as the paper does it: a memory that grows, and a fresh network trained on it alone at each step.

    python benchmarks/continual_gdumb.py --orders 0 1 2 3 4 --iterations 20000 --epochs 1000 --runs 3
    python benchmarks/continual_gdumb.py --quick --orders 0 1           # half a minute a step, 300 steps of training

CIFAR-100 in 5 or 10 steps, classes in the orders of ``numpy.random.seed``; each class is condensed from its own step's
data and keeps the bytes of 20 raw images (``dm`` in 8 bits with a range for each channel). The network has an output
for every class from the start, and is tested on the classes so far. Cells, one for each step, go to
results/continual_gdumb.json; the picture shows accuracy over steps. The table's deviations are over orders, of each
order the mean of its networks.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from statistics import mean

import numpy
import torch
from common import (
    add_evaluation,
    fill,
    markdown,
    networks,
    parsed,
    pyplot,
    read_results,
    save_figure,
    schedule_of,
    spread,
    title_of,
    trained_for,
)
from sets import CONDENSED, REAL, Budget, described, made
from targets import targets

from dm_replay import load_dataset
from dm_replay.data.registry import Dataset
from dm_replay.replay.kinds import merged
from dm_replay.runtime import hardware

USUAL = ["random", "herding", "our code, herding", "dm", "fast"]
COLORS = {"random": "#9a9a9a", "herding": "#e0b070", "our code, herding": "#3fa38c", "dm": "#b5432e", "fast": "#2f6db3"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar100")
    parser.add_argument("--ipc", type=int, default=20, help="raw images a class, for the bytes")
    parser.add_argument("--methods", nargs="+", choices=[*REAL, *CONDENSED], default=USUAL, metavar="METHOD")
    parser.add_argument("--steps-of-classes", type=int, default=5, metavar="STEPS", help="5 or 10 in the paper")
    parser.add_argument("--orders", type=int, nargs="+", default=[0], help="of the classes; the paper has 0 to 4")
    parser.add_argument("--network", default="convnet", help="that condenses and is trained")
    parser.add_argument("--quick", action="store_true", help="30 s of condensing a step, 300 steps, one network")
    Budget.add_to(parser)
    add_evaluation(parser)
    options = parsed(parser, seconds=30.0, steps=300, runs=1)
    hardware.keep_memory()
    data, budget = load_dataset(options.dataset), Budget.of(options)
    cells = {
        key_of(method, order, step, budget, options): partial(measure, method, order, step, data, budget, options)
        for order in options.orders
        for method in options.methods
        for step in range(options.steps_of_classes)
    }
    results = fill("continual_gdumb", cells, options)
    print(table(results))
    asked = {_protocol(cell) for cell in results.values()}
    draw({key: cell for key, cell in read_results("continual_gdumb").items() if _protocol(cell) in asked})


def key_of(method: str, order: int, step: int, budget: Budget, options: argparse.Namespace) -> str:
    how = f"{method} {budget}" if method in CONDENSED else method
    where = f"order {order}, step {step + 1} of {options.steps_of_classes}"
    return f"{options.dataset}, ipc {options.ipc}, {how}, {options.network}, {schedule_of(options)}, {where}"


def measure(
    method: str, order: int, step: int, data: Dataset, budget: Budget, options: argparse.Namespace, cell: dict | None
) -> Iterator[dict]:
    """The cell of a step after each network that it lacks."""
    groups = in_steps(data, options.steps_of_classes, order)
    network = {"network": options.network} if method in CONDENSED else {}
    parts = []
    for number, classes in enumerate(groups[: step + 1]):
        own = data._replace(train=data.train.subset(classes))
        part = f"order-{order}-step-{number + 1}-of-{len(groups)}"
        parts.append(made(method, own, options.ipc, budget, order, part, **network))
    memory, seen = merged(parts), torch.cat(groups[: step + 1])
    about = described(memory, options.dataset, method, options.ipc, budget, order) | {
        "made": [part.meta["made"] for part in parts] if method in CONDENSED else None,
        "network": options.network,
        "steps": len(groups),
        "step": step + 1,
        "classes": len(seen),
    }
    how = {"seed": order, "head": len(data.train.classes)}
    for evaluation in networks(memory, data.test.subset(seen), options, options.network, cell, **how):
        yield about | evaluation


def in_steps(data: Dataset, steps: int, order: int) -> tuple[torch.Tensor, ...]:
    """The classes of each step, sorted, in the paper's order of that number."""
    classes = data.train.classes
    shuffled = classes[torch.from_numpy(numpy.random.RandomState(order).permutation(len(classes)))]
    return tuple(part.sort().values for part in shuffled.tensor_split(steps))


def table(results: dict) -> str:
    """Accuracy at the end by method and steps, mean and deviation over orders, with the paper's, as Markdown."""
    lengths = sorted({cell["steps"] for cell in results.values()})
    rows = [
        [_title_of(cells[0]), trained_for(cells[0]), *(_spread(curves(cells, length)) for length in lengths)]
        for cells in _by_method(results).values()
    ]
    asked = {(cell["dataset"], cell["ipc"]) for cell in results.values()}
    theirs = [target for target in targets() if target.table == "continual" and (target.dataset, target.ipc) in asked]
    for method in dict.fromkeys(target.method for target in theirs):
        found = {target.steps: f"*{target}*" for target in theirs if target.method == method}
        rows.append([f"*paper: {method}*", "1000 epochs", *(found.get(length, "") for length in lengths)])
    return markdown(["", "trained for", *(f"{length} steps" for length in lengths)], rows)


def _title_of(cell: dict) -> str:
    return title_of(cell) + ("" if cell["network"] == "convnet" else f", {cell['network']}")


def _by_method(results: dict) -> dict[tuple, list[dict]]:
    """Cells by their method, what condensing may take, and the protocol."""
    groups: dict[tuple, list[dict]] = {}
    for cell in results.values():
        key = cell["method"], cell["budget"], *_protocol(cell)
        groups.setdefault(key, []).append(cell)
    return groups


def _protocol(cell: dict) -> tuple[str, int, str, str]:
    return cell["dataset"], cell["ipc"], cell["network"], trained_for(cell)


def curves(cells: list[dict], length: int) -> list[list[float]]:
    """For each order whose steps are all there, the accuracy after each."""
    own = [cell for cell in cells if cell["steps"] == length]
    by_order = {order: [cell for cell in own if cell["set"] == order] for order in {cell["set"] for cell in own}}
    whole = [sorted(cells, key=lambda cell: cell["step"]) for cells in by_order.values() if len(cells) == length]
    return [[cell["mean"] for cell in cells] for cells in whole]


def _spread(found: list[list[float]]) -> str:
    ends = [curve[-1] for curve in found]
    return spread(ends) + (f" ({len(ends)} orders)" if len(ends) > 1 else "")


def draw(results: dict) -> None:
    """Accuracy over steps, of each method the mean over orders, into results/continual_gdumb.png."""
    lengths = sorted({cell["steps"] for cell in results.values()})
    figure, row = pyplot().subplots(
        1, len(lengths), figsize=(4.6 * len(lengths), 3.6), layout="constrained", squeeze=False, sharey=True
    )
    for axes, length in zip(row[0], lengths, strict=True):
        for cells in _by_method(results).values():
            found = curves(cells, length)
            if found:
                means = [mean(values) for values in zip(*found, strict=True)]
                color = COLORS.get(cells[0]["method"])
                axes.plot(range(1, length + 1), means, marker="o", markersize=3, label=title_of(cells[0]), color=color)
        axes.set(xlabel="step", title=f"{length} steps", xticks=range(1, length + 1))
    row[0][0].set_ylabel("accuracy on the classes so far, %")
    row[0][0].legend(frameon=False, fontsize=7)
    save_figure(figure, "continual_gdumb")


if __name__ == "__main__":
    main()
