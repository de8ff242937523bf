"""What the measurements of condensing share: the machine, its options, and the seconds of an iteration."""

import argparse
import time

import torch

from dm_replay import CondenseConfig, TensorPool, condense
from dm_replay.runtime import hardware

__all__ = ["DEVICE", "MACHINE", "ON_GPU", "options_of", "paper_config", "seconds_per_iteration", "wait"]

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
MACHINE = "GPU" if ON_GPU else "CPU"


def options_of(description: str | None, iterations: int = 50 if ON_GPU else 4) -> argparse.ArgumentParser:
    """Options of iterations that are timed in turns."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=iterations, help="in each turn")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--compile", choices=("yes", "no"), default="yes")
    return parser


def paper_config(options: argparse.Namespace, **settings) -> CondenseConfig:
    """The paper's objective for these options, with an iteration that is not timed."""
    how = {name: getattr(options, name) for name in ("ipc", "compile")} | settings
    return CondenseConfig.preset("paper", iterations=options.iterations + 1, device=DEVICE.type, **how)


def seconds_per_iteration(pool: TensorPool, config: CondenseConfig, classes: list[int] | None = None) -> float:
    """Mean over the iterations but the first."""
    times = []

    def note(step):
        if step.iteration in (1, step.iterations):
            wait()
            times.append(time.perf_counter())

    condense(pool, config, classes=classes, on_step=note)
    return (times[1] - times[0]) / (config.iterations - 1)


def wait() -> None:
    hardware.synchronize(DEVICE)
