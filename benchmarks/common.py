"""Where the results of benchmarks go, and what those that evaluate sets have in common."""

import argparse
import json
import os
from pathlib import Path

from dm_replay import EvalConfig, EvalReport
from dm_replay.runtime.atomic_files import atomic
from dm_replay.runtime.provenance import provenance

__all__ = ["RESULTS", "about_evaluation", "add_evaluation", "budget_of", "read_results", "schedule_of", "write_result"]

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, content: dict) -> Path:
    """Write benchmarks/results/<name>.json, whole or not at all, and say where."""
    RESULTS.mkdir(exist_ok=True)
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


def about_evaluation(report: EvalReport) -> dict:
    """What a cell records of its evaluation and of the machine."""
    return {
        "accuracies": list(report.accuracies),
        "mean": report.mean,
        "std": report.std,
        "evaluation": report.settings,
        "evaluation_seconds": report.seconds,
        "load": os.getloadavg()[0],
        **provenance("cpu"),
    }
