"""Where the results of benchmarks go, and what those that evaluate sets have in common."""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path

from dm_replay import EvalConfig, EvalReport, evaluate
from dm_replay.runtime.atomic_files import atomic
from dm_replay.runtime.provenance import provenance

__all__ = ["RESULTS", "add_evaluation", "lacks", "networks", "read_results", "schedule_of", "write_result"]

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


def add_evaluation(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`budget_of`, and how many networks."""
    parser.add_argument("--runs", type=int, default=1, help="networks")
    parser.add_argument("--steps", type=int, default=400, help="of 256 images, of each network's training")
    parser.add_argument("--epochs", type=int, help="the paper's schedule takes 1000, whatever they come to in steps")


def budget_of(options: argparse.Namespace) -> EvalConfig:
    """Epochs, where they are given, else steps."""
    return EvalConfig(epochs=options.epochs) if options.epochs else EvalConfig(steps=options.steps)


def schedule_of(options: argparse.Namespace) -> str:
    return f"{options.epochs} epochs" if options.epochs else f"{options.steps} steps"


def networks(train_set, test_pool, options: argparse.Namespace, network: str, cell: dict | None) -> Iterator[dict]:
    """What a cell records of its evaluation, after each network that it still lacks of ``options.runs``."""
    found, seconds = (list(cell["accuracies"]), cell["evaluation_seconds"]) if cell else ([], 0.0)
    for first in range(len(found), options.runs):
        one = evaluate(train_set, test_pool, budget_of(options), network=network, runs=1, first=first)
        found, seconds = [*found, *one.accuracies], seconds + one.seconds
        settings = {**one.settings, "first": 0, "runs": len(found)}
        yield _about(EvalReport(tuple(found), settings, seconds))


def lacks(cell: dict | None, options: argparse.Namespace) -> bool:
    """Whether a cell has fewer networks than are asked for."""
    return cell is None or len(cell["accuracies"]) < options.runs


def _about(report: EvalReport) -> dict:
    return {
        "accuracies": list(report.accuracies),
        "mean": report.mean,
        "std": report.std,
        "evaluation": report.settings,
        "evaluation_seconds": report.seconds,
        "load": os.getloadavg()[0],
        **provenance("cpu"),
    }
