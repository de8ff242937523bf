"""Everything that wants a GPU, most important first, in pieces of at most eight minutes.

    python benchmarks/gpu_suite.py --list
    python benchmarks/gpu_suite.py                    # the next unfinished pieces, until --minutes are over
    python benchmarks/gpu_suite.py --only agreement

Each piece writes benchmarks/results/gpu_<piece>.json when it is done and is then skipped; a condensation that runs
out of time leaves a checkpoint under --runs and goes on from there. Needs no Avalanche. Real images from DM_DATA.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from common import RESULTS, write_result

from dm_replay import CondenseConfig, CondensedSet, EvalConfig, evaluate, load_dataset
from dm_replay.coresets.random import random_set
from dm_replay.runs.condense_run import Interrupted, condense_run
from dm_replay.runtime.provenance import provenance

HERE = Path(__file__).parent


def doctor(options) -> dict | None:
    """What the machine is, and whether the fast path gives the plain path's numbers on it."""
    done = subprocess.run([sys.executable, "-m", "dm_replay.cli", "doctor", "--json"], capture_output=True, text=True)
    print(done.stdout[-4000:], done.stderr[-1000:])
    return json.loads(done.stdout) if done.returncode == 0 else None


def agreement(options) -> dict | None:
    """Does the GPU path give the CPU path's numbers?"""
    command = [sys.executable, "-m", "pytest", "-q", "--device", "cuda", "-p", "no:cacheprovider"]
    tests = [str(HERE.parent / "tests" / name) for name in ("augment", "test_gpu.py")]
    done = subprocess.run([*command, *tests], capture_output=True, text=True)
    print(done.stdout[-3000:], done.stderr[-1000:])
    return {"passed": done.returncode == 0, "output": done.stdout[-3000:].splitlines()}


def speed(*cases: int):
    def piece(options) -> dict | None:
        """Seconds per iteration beside the official way and the machine's limit."""
        name = "gpu_speed_cases_" + "_".join(map(str, cases))
        command = [sys.executable, str(HERE / "speed.py"), "--out", name, "--cases", *map(str, cases)]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout, done.stderr[-2000:])
        return {"printed": done.stdout.splitlines()} if done.returncode == 0 else None

    return piece


def cell(dataset: str, ipc: int, runs: int = 20, **settings):
    """A cell of the paper's table: the full condensation, then the full evaluation of it and of random images."""

    def piece(options) -> dict | None:
        data = load_dataset(dataset)
        config = CondenseConfig(ipc=ipc, **settings)
        folder = options.runs / f"{dataset}_ipc{ipc}"
        begun = folder.exists()
        try:
            with interrupted_after(options.deadline - time.monotonic()):
                condensed = condense_run(folder, data, config, seed=0, resume=begun)
        except Interrupted as stopped:
            print(stopped)
            return None
        return score(condensed, data, ipc, runs)

    piece.__doc__ = f"{dataset}, ipc {ipc}: 20,000 iterations, {runs} networks of 1,000 epochs"
    return piece


def score(condensed: CondensedSet, data, ipc: int, runs: int) -> dict:
    sets = {"dm": condensed, "random": random_set(data.train, ipc, seed=0)}
    reports = {name: evaluate(images, data.test, EvalConfig(), runs=runs) for name, images in sets.items()}
    for name, report in reports.items():
        print(f"{name:8} {report}")
    return {
        name: {"mean": r.mean, "std": r.std, "accuracies": r.accuracies, "settings": r.settings, "seconds": r.seconds}
        for name, r in reports.items()
    } | {"condensation": condensed.meta}


PIECES = {
    "doctor": doctor,
    "agreement": agreement,
    "speed_cifar10": speed(0, 1, 2),
    "speed_large": speed(3, 4),
    "cifar10_ipc10": cell("cifar10", 10),
    "cifar10_ipc1": cell("cifar10", 1),
    "cifar10_ipc50": cell("cifar10", 50),
    "cifar100_ipc10": cell("cifar100", 10),
    "cifar100_ipc1": cell("cifar100", 1),
    "cifar100_ipc50": cell("cifar100", 50),
}


@contextlib.contextmanager
def interrupted_after(seconds: float):
    """As if somebody pressed Ctrl-C then, which leaves a resumable run."""
    timer = threading.Timer(max(1.0, seconds), os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="the pieces and which are done")
    parser.add_argument("--only", choices=PIECES)
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="no piece is begun after, none condenses beyond them"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/gpu_suite"))
    options = parser.parse_args()
    options.deadline = time.monotonic() + 60 * options.minutes
    for name in [options.only] if options.only else PIECES:
        result = RESULTS / f"gpu_{name}.json"
        if options.list or result.exists():
            print(f"{name:16} {'done' if result.exists() else 'to do'}")
        elif time.monotonic() < options.deadline:
            start = time.monotonic()
            content = PIECES[name](options)
            if content is not None:
                where = provenance("cuda" if torch.cuda.is_available() else "cpu")
                write_result(f"gpu_{name}", content | {"seconds": time.monotonic() - start} | where)


if __name__ == "__main__":
    main()
