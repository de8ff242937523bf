"""What a network learns from the same bytes: real images whole, shrunk and coded beside condensed ones.

    python benchmarks/equal_bytes.py                                    # CIFAR-10, the bytes of ten images a class
    python benchmarks/equal_bytes.py --dataset cifar100 --ipc 10 --network resnet18:width=20

Each cell is a set that takes no more than the bytes of ``--ipc`` uint8 images a class with a scale and an offset for
each channel, labels apart. ``dm`` keeps whole images of 8 bits a value; ``fast`` and ``plus`` what their presets take
where bytes count (mosaics of 4 bits with color at a lower resolution), and ``our code`` real images in the same.

Fresh networks are trained on a set, all for the same number of equal steps, as replay in a stream would give (cells
whose ``steps_made`` is more were measured when a budget was rounded up to whole epochs);
``--epochs 1000`` is the paper's schedule instead. Cells are written to results/equal_bytes.json after each network, and
not run again; condensed sets are kept in runs/sets for the next network. The plot is results/equal_bytes.png.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from functools import partial

from common import add_evaluation, fill, markdown, networks, pyplot, read_results, save_figure, schedule_of, trained_for
from sets import CODED, CONDENSED, REAL, Budget, class_bytes, made

from dm_replay import load_dataset
from dm_replay.runtime import hardware

CELLS = [name for name in (*REAL, *CODED, *CONDENSED) if name != "k-means"]
COMPARED, ACROSS = 4, 3  # cells of a column that make it worth a picture; pictures in a row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS[:-1], metavar="CELL")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=10, help="raw images a class whose bytes a set may take")
    parser.add_argument("--seconds", type=float, default=180.0, help="of condensing")
    parser.add_argument("--network", default="convnet", help="that is trained on the sets")
    add_evaluation(parser)
    options = parser.parse_args()
    hardware.keep_memory()
    data = load_dataset(options.dataset)
    cells = {key_of(name, options): partial(measure, name, data, options) for name in options.cells}
    fill("equal_bytes", cells, options)
    results = read_results("equal_bytes")
    print(table(results))
    draw(results)


def key_of(name: str, options: argparse.Namespace) -> str:
    schedule = schedule_of(options)
    made = f"{name} {options.seconds:g} s" if name in CONDENSED else name
    return f"{options.dataset}, ipc {options.ipc}, {made}, {options.network}, {schedule}"


def measure(name: str, data, options: argparse.Namespace, cell: dict | None) -> Iterator[dict]:
    """The cell after each network that it lacks."""
    kept = made(name, data, options.ipc, Budget(options.seconds))
    allowed = class_bytes(data.train, options.ipc) * len(data.train.classes)
    if kept.nbytes > allowed:
        raise RuntimeError(f"{name} takes {kept.nbytes} bytes, more than {allowed}")
    about = {
        "cell": name,
        "dataset": options.dataset,
        "ipc": options.ipc,
        "bytes": kept.nbytes,
        "training_images": kept.decoded,
        "made": kept.meta.get("made"),
        "seconds_allowed": options.seconds if name in CONDENSED else 0.0,
        "quality": kept.codec.quality if name in CODED else None,
        "config": kept.meta.get("config"),
        "network": options.network,
    }
    for evaluation in networks(kept, data.test, options, options.network, cell):
        yield about | evaluation


def table(results: dict) -> str:
    """Cells by columns of dataset, ipc, network and schedule, as Markdown."""
    columns = list(dict.fromkeys(map(column_of, results.values())))
    rows = []
    for cell in CELLS:
        of_cell = {column_of(r): f"{r['mean']:.1f}" for r in results.values() if r["cell"] == cell}
        if of_cell:
            rows.append([cell, *(of_cell.get(column, "") for column in columns)])
    return markdown(["kept in the same bytes", *columns], rows)


def column_of(result: dict) -> str:
    return f"{result['dataset']}, {result['ipc']} a class, {result['network']}, {trained_for(result)}"


def draw(results: dict) -> None:
    """The columns of the table that have enough cells to be compared."""
    sizes = Counter(map(column_of, results.values()))
    columns = [column for column, cells in sizes.items() if cells >= COMPARED]
    if not columns:
        return
    rows = -(-len(columns) // ACROSS)
    figure, grid = pyplot().subplots(
        rows, ACROSS, figsize=(2.2 + 2.6 * ACROSS, 3.8 * rows), layout="constrained", sharey=True, squeeze=False
    )
    all_axes = grid.flatten().tolist()
    for axes in all_axes[len(columns) :]:
        axes.set_axis_off()
    cells = [cell for cell in CELLS if any(r["cell"] == cell for r in results.values())]
    for axes, column in zip(all_axes, columns, strict=False):
        means = {r["cell"]: r["mean"] for r in results.values() if column_of(r) == column}
        places = [number for number, cell in enumerate(cells) if cell in means]
        colors = ["#2f6db3" if cells[number] in CONDENSED else "#d0a070" for number in places]
        bars = axes.barh(places, [means[cells[number]] for number in places], color=colors, height=0.7)
        axes.bar_label(bars, fmt="%.1f", fontsize=7, padding=2)
        axes.set_title(column.replace(", ", "\n"), fontsize=8)
        axes.set_yticks(range(len(cells)), cells, fontsize=8)
        axes.margins(x=0.18)
    all_axes[0].invert_yaxis()
    figure.supxlabel("test accuracy, %", fontsize=9)
    save_figure(figure, "equal_bytes")


if __name__ == "__main__":
    main()
