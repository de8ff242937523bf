"""Seconds per iteration and per epoch: this project, the official way of doing it, and the limit of the machine.

    python -m benchmarks.speed --quick            # CIFAR-10, ipc 10 and its evaluation: what a CPU can wait for
    python -m benchmarks.speed                    # every case

The two take turns in one process; the ratio is the median over turns. The floor is the time that the arithmetic would
take at the speed of a measured matrix product, or the activations, each written and read once, at that of a measured
copy, whichever is longer, both in the precision that is chosen here. Real images where DM_DATA has them, else noise,
which costs the same.

Ratios hold for one kind of machine: a GPU, a CPU with bfloat16 instructions or one without. The first lines say which
this is, as does each line of results/speed.jsonl. A CPU with them can play one without, but for its clock and caches:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.speed --quick
"""

import argparse
import os
import resource
import statistics
import time
from dataclasses import dataclass

import torch

from dm_replay import CondenseConfig, EvalConfig, Machine, TensorPool, build_network, evaluate, load_dataset
from dm_replay.coresets.random import random_set
from dm_replay.matching.condense import Condenser
from dm_replay.runtime import hardware
from dm_replay.runtime.engine import choose
from dm_replay.runtime.hardware import Limits, Work, device_name, measure_limits

from . import official_way
from .cost_tables import speed
from .results import append, markdown

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    dataset: str
    classes: int
    ipc: int
    side: int = 32
    depth: int = 3
    batch: int = 256


CASES = [
    Case("cifar10", 10, 10),
    Case("cifar10", 10, 1),
    Case("cifar10", 10, 50),
    Case("cifar100", 100, 10),
    Case("noise64", 200, 10, side=64, depth=4),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="CIFAR-10, ipc 10 only")
    parser.add_argument("--cases", type=int, nargs="+", help="numbers of single cases, from 0")
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    chosen = [CASES[i] for i in options.cases] if options.cases else CASES[: 1 if options.quick else None]

    kind, instruction_sets = kind_of_machine(), hardware.instruction_sets()
    print(f"{device_name(DEVICE)}\n{kind}; instruction sets of the CPU: {' '.join(instruction_sets) or 'unknown'}")
    reached = measure_limits(DEVICE, choose(DEVICE.type, "auto", "yes", (32, 32), 1).dtype)
    print(f"{reached}\n", flush=True)
    rows = [measure_condensation(case, reached, options.turns) for case in chosen]
    rows += measure_evaluation(CASES[0], options.turns)
    about = {"limits": {"text": str(reached), "instruction_sets": instruction_sets}, "peak_memory_bytes": peak_memory()}
    append("speed", [{"machine": kind, **about, **row} for row in rows])
    print(markdown(speed(kind, "seconds")))


def kind_of_machine() -> str:
    if DEVICE.type == "cuda":
        return "GPU"
    return "bfloat16 cores" if hardware.has_bfloat16() else "no bfloat16"


def measure_condensation(case: Case, reached: Limits, turns: int) -> dict:
    pool = pool_of(case)
    ours, official = Ours(case, pool), Official(case, pool)
    for side in (ours, official):
        side.seconds_per_iteration()
    pairs = [(ours.seconds_per_iteration(), official.seconds_per_iteration()) for _ in range(turns)]
    cost = work(case, reached.dtype.itemsize)
    about = {"turns": pairs, "flops": cost.flops, "bytes_moved": cost.bytes, "floor": reached.seconds(cost)}
    return {"part": "iteration", **about_case(case, pool), "batch_real": case.batch, **medians(pairs), **about}


def about_case(case: Case, pool: TensorPool) -> dict:
    same = {name: getattr(case, name) for name in ("dataset", "classes", "ipc", "side")}
    return {**same, "network": f"convnet:depth={case.depth}", "settings": {"images": pool.source}}


def medians(pairs: list[tuple[float, float]]) -> dict[str, float]:
    """Of both sides, and of their ratio."""
    return {
        "ours": statistics.median(a for a, _ in pairs),
        "official": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
    }


class Ours:
    """Goes on from where the last turn ended."""

    def __init__(self, case: Case, pool: TensorPool):
        self.pool, self.state, self.done, self.condenser = pool, None, 0, Condenser()
        self.each = 50 if DEVICE.type == "cuda" else 4
        self.config = dict(ipc=case.ipc, batch_real=case.batch, network=f"convnet:depth={case.depth}", compile="yes")

    def seconds_per_iteration(self) -> float:
        self.done += self.each
        config = CondenseConfig.preset("paper", **self.config, iterations=self.done, device=DEVICE.type)
        times = []

        def note(progress):
            if len(times) == 0 or progress.iteration == self.done:
                wait()
                times.append(time.perf_counter())
            if progress.iteration == self.done:
                self.state = progress.state

        self.condenser.condense(self.pool, config, state=self.state, on_step=note)
        return (times[1] - times[0]) / (self.each - 1)


class Official:
    def __init__(self, case: Case, pool: TensorPool):
        images = pool.take(torch.arange(len(pool))).to(DEVICE)
        self.condenser = official_way.Condenser(images, pool.labels.to(DEVICE), case.ipc, case.batch, case.depth)

    def seconds_per_iteration(self) -> float:
        return timed(self.condenser.step)


def measure_evaluation(case: Case, turns: int) -> list[dict]:
    """Training on 100 images and testing on 10,000: an epoch of a network, a test and, made up of these, the whole
    schedule; on a GPU of 20 trained together."""
    pool = pool_of(case)
    test = TensorPool(pool.images[:10_000], pool.labels[:10_000], pool.mean, pool.std)
    condensed, epochs = random_set(pool, case.ipc), 200 if DEVICE.type == "cuda" else 10
    runs = 20 if DEVICE.type == "cuda" else 1
    real = test.take(torch.arange(len(test))), test.labels
    images, labels = condensed.images.to(DEVICE), condensed.labels.to(DEVICE)

    def ours() -> tuple[float, float]:
        times = []
        config = EvalConfig(epochs=epochs, machine=Machine(DEVICE.type, compile="yes"))

        def note(run: int, epoch: int) -> None:
            if run == runs - 1 and epoch in (epochs // 5, epochs):
                wait()
                times.append(time.perf_counter())

        evaluate(condensed, test, config, runs=runs, on_epoch=note)
        end = time.perf_counter()
        return (times[1] - times[0]) / (runs * (epochs - epochs // 5)), (end - times[1]) / runs

    def official() -> tuple[float, float]:
        test_alone = timed(lambda: official_way.train_and_test(images, labels, real, 0, case.classes))
        both = timed(lambda: official_way.train_and_test(images, labels, real, epochs, case.classes))
        return (both - test_alone) / epochs, test_alone

    ours()
    pairs = [(ours(), official()) for _ in range(turns)]
    parts = {
        "epoch": [(a[0], b[0]) for a, b in pairs],
        "test": [(a[1], b[1]) for a, b in pairs],
        "whole": [(1001 * a[0] + a[1], 1001 * b[0] + b[1]) for a, b in pairs],
    }
    same = {**about_case(case, pool), "epochs": epochs, "batch": 256}
    same["settings"] |= {"runs": runs}
    return [{"part": part, **same, **medians(times), "turns": times} for part, times in parts.items()]


def pool_of(case: Case) -> TensorPool:
    """Real images where they are laid out, else noise; the attribute ``source`` says which."""
    if case.dataset.startswith("cifar") and os.environ.get("DM_DATA"):
        pool, source = load_dataset(case.dataset).train, case.dataset
    else:
        each = max(case.batch, 50)
        shape = (case.classes * each, 3, case.side, case.side)
        images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        labels = torch.arange(case.classes).repeat_interleave(each)
        pool, source = TensorPool(images, labels, (0.5,) * 3, (0.25,) * 3), "noise"
    pool.source = source
    return pool


def work(case: Case, itemsize: int) -> Work:
    """Of an iteration: the real images forward; the synthetic ones forward and, twice as dear, backward."""
    shape = (3, case.side, case.side)
    network = build_network("convnet", shape, 1, depth=case.depth)
    return hardware.work_of(network, shape, case.classes * (case.batch + 3 * case.ipc), itemsize)


def timed(function) -> float:
    return hardware.timed(function, DEVICE)


def wait() -> None:
    hardware.synchronize(DEVICE)


def peak_memory() -> int:
    """Bytes: of the device on a GPU, else of the whole process."""
    if DEVICE.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
