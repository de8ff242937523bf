"""Where the results of benchmarks go, and what those that evaluate sets have in common.

A result file holds cells by their keys; a cell is one set, one network and one schedule, with as many accuracies as
networks were trained.
"""

import argparse
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, pstdev

from dm_replay import EvalConfig, EvalReport, evaluate
from dm_replay.runtime.engine import resolve_device
from dm_replay.runtime.files import atomic
from dm_replay.runtime.hardware import provenance
from dm_replay.runtime.stages import progress_bar

__all__ = [
    "RESULTS",
    "add_evaluation",
    "command",
    "fill",
    "here",
    "markdown",
    "networks",
    "parsed",
    "pyplot",
    "read_results",
    "save_figure",
    "schedule_of",
    "short_hash",
    "spread",
    "title_of",
    "trained_for",
    "write_cell",
    "write_result",
]

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, content: dict) -> Path:
    """Write benchmarks/results/<name>.json, whole or not at all, and say where."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}")
    return path


def read_results(name: str) -> dict:
    """The cells of benchmarks/results/<name>.json so far."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def write_cell(name: str, key: str, cell: dict) -> dict:
    """Add a cell to results/<name>.json, beside those that other processes have written meanwhile; all of them."""
    results = read_results(name) | {key: cell}
    write_result(name, results)
    return results


def here() -> dict:
    """Versions, commit and the device that is chosen by default, for a result file."""
    return provenance(resolve_device("auto"))


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`budget_of`, and how many networks."""
    parser.add_argument("--runs", type=int, default=1, help="networks")
    parser.add_argument("--steps", type=int, default=400, help="of 256 images, of each network's training")
    parser.add_argument("--epochs", type=int, help="the paper's schedule takes 1000, whatever they come to in steps")


def parsed(parser: argparse.ArgumentParser, **quick) -> argparse.Namespace:
    """The options; with ``--quick`` those that are not given are ``quick``'s."""
    if parser.parse_args().quick:
        parser.set_defaults(**quick)
    return parser.parse_args()


def budget_of(options: argparse.Namespace) -> EvalConfig:
    """Epochs, where they are given, else steps."""
    return EvalConfig(epochs=options.epochs) if options.epochs else EvalConfig(steps=options.steps)


def schedule_of(options: argparse.Namespace) -> str:
    return f"{options.epochs} epochs" if options.epochs else f"{options.steps} steps"


def trained_for(cell: dict) -> str:
    """The schedule of a cell's networks."""
    asked = cell["evaluation"]
    return f"{asked['steps']} steps" if asked["steps"] else f"{asked['epochs']} epochs"


def title_of(cell: dict) -> str:
    """Its method, with what condensing may take where it does."""
    return f"{cell['method']}, {cell['budget']}" if cell["budget"] else cell["method"]


def fill(name: str, cells: Mapping[str, Callable[[dict | None], Iterator[dict]]], options: argparse.Namespace) -> dict:
    """The cells that are given, after each has as many networks as ``options`` ask for.

    They are kept in results/<name>.json beside others, also those that another process has written meanwhile.

    Args:
        cells: by key, what yields the cell after each network that it still lacks, given the cell so far.
    """
    for number, (key, measure) in enumerate(cells.items(), 1):
        found = read_results(name).get(key)
        if _lacks(found, options):
            print(f"cell {number} of {len(cells)}: {key}", flush=True)
            for cell in measure(found):
                write_cell(name, key, cell)
                found = cell
        print(f"{spread(found['accuracies']):>10}   {key}", flush=True)
    results = read_results(name)
    return {key: results[key] for key in cells}


def networks(train_set, test_pool, options: argparse.Namespace, network: str, cell: dict | None, **how) -> Iterator:
    """What a cell records of its evaluation, after each network that it still lacks of ``options.runs``; a GPU trains
    them together.

    Args:
        how: more arguments of :func:`evaluate`, like its seed.
    """
    found, seconds = (list(cell["accuracies"]), cell["evaluation_seconds"]) if cell else ([], 0.0)
    first_origin = cell and {"networks": len(found), "commit": cell["commit"], "device": cell["device"]}
    origins = list(cell.get("origins", [first_origin])) if cell else []
    config = budget_of(options)
    at_once = options.runs if resolve_device("auto").type == "cuda" else 1
    for first in range(len(found), options.runs, at_once):
        last = min(first + at_once, options.runs)
        epochs = (last - first) * config.passes(train_set.decoded)
        with progress_bar(f"network {last} of {options.runs}", epochs, unit=" epochs") as bar:
            how["on_epoch"] = lambda run, epoch, bar=bar: bar.update()
            report = evaluate(train_set, test_pool, config, network=network, runs=last - first, first=first, **how)
        found, seconds = [*found, *report.accuracies], seconds + report.seconds
        settings = {**report.settings, "first": 0, "runs": len(found)}
        about = _about(EvalReport(tuple(found), settings, seconds))
        origins = _extended(origins, {"commit": about["commit"], "device": about["device"]}, last - first)
        yield about | {"origins": origins}


def _lacks(cell: dict | None, options: argparse.Namespace) -> bool:
    """Whether a cell has fewer networks than are asked for."""
    return cell is None or len(cell["accuracies"]) < options.runs


def short_hash(settings: object) -> str:
    """Eight characters that differ where settings do, for the names of files."""
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:8]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def spread(accuracies: Sequence[float]) -> str:
    """Mean, and of several the deviation; nothing of none."""
    if not accuracies:
        return ""
    return f"{mean(accuracies):.1f}" + (f" ± {pstdev(accuracies):.1f}" if len(accuracies) > 1 else "")


def pyplot():
    """Matplotlib's, for files alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save_figure(figure, name: str) -> None:
    """Write results/<name>.png, whole or not at all, with two spines to each of its axes."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic(RESULTS / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot().close(figure)


def command() -> str:
    """The one that is running, as the README has it."""
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def _extended(origins: list[dict], origin: dict, networks: int) -> list[dict]:
    """Where a cell's networks were trained, in their order, with so many more of one origin."""
    *others, last = origins or [origin | {"networks": 0}]
    if origin.items() <= last.items():
        return [*others, origin | {"networks": last["networks"] + networks}]
    return [*origins, origin | {"networks": networks}]


def _about(report: EvalReport) -> dict:
    return {
        "accuracies": list(report.accuracies),
        "mean": report.mean,
        "std": report.std,
        "evaluation": report.settings,
        "evaluation_seconds": report.seconds,
        "load": os.getloadavg()[0],
        "command": command(),
        **here(),
    }
