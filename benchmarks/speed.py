"""Seconds per iteration and per epoch: this project, the official way of doing it, and the limit of the machine.

    python -m benchmarks.speed --quick            # CIFAR-10, ipc 10 and its evaluation: what a CPU can wait for
    python -m benchmarks.speed                    # every case

The two take turns in one process; the ratio is the median over turns. The floor is the time that the arithmetic would
take at the speed of a measured matrix product, or the activations, each written and read once, at that of a measured
copy, whichever is longer, both in the precision that is chosen here. Real images where DM_DATA has them, else noise,
which costs the same.

Ratios hold for one kind of machine: a GPU, a CPU with bfloat16 instructions or one without. The first lines say which
this is, as does each row of results/speed.jsonl. A CPU with them can play one without, but for its clock and caches:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.speed --quick
"""

import argparse
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch

from dm_replay import (
    Budget,
    CondenseConfig,
    EvalConfig,
    Machine,
    Random,
    TensorPool,
    build_network,
    evaluate,
    load_dataset,
)
from dm_replay.matching.condense import Condenser
from dm_replay.runtime import hardware
from dm_replay.runtime.engine import choose

from . import official_way
from .cost_tables import speed
from .results import append, markdown
from .timing import DEVICE, ON_GPU, wait

Pairs = list[tuple[float, float]]  # ours, official


@dataclass(frozen=True)
class Case:
    """Condensing so many classes."""

    dataset: str
    classes: int
    ipc: int
    side: int = 32
    depth: int = 3
    batch: int = 256

    def about(self, pool: TensorPool) -> dict:
        same = {name: getattr(self, name) for name in ("dataset", "classes", "ipc", "side")}
        return {**same, "network": f"convnet:depth={self.depth}", "settings": {"images": pool.source}}


CASES = [
    *(Case("cifar10", 10, ipc) for ipc in (10, 1, 50)),
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
    kind = "GPU" if ON_GPU else "bfloat16 cores" if hardware.has_bfloat16() else "no bfloat16"
    reached = hardware.measure_limits(DEVICE, choose(DEVICE.type, "auto", "yes", (32, 32), 1).dtype)
    limits = {"text": str(reached), "instruction_sets": hardware.instruction_sets()}
    print(f"{hardware.device_name(DEVICE)}: {kind}; {' '.join(limits['instruction_sets'])}\n{reached}\n", flush=True)
    rows = [condensation(case, reached, options.turns) for case in chosen] + evaluation(CASES[0], options.turns)
    append("speed", [{"machine": kind, "limits": limits, "peak_memory_bytes": peak_memory(), **row} for row in rows])
    print(markdown(speed(kind, "seconds")))


def condensation(case: Case, reached: hardware.Limits, turns: int) -> dict:
    pool = pool_of(case)
    sides = ours(case, pool), official(case, pool)
    pairs = [tuple(side() for side in sides) for _ in range(turns + 1)][1:]
    network = build_network("convnet", pool.shape, 1, depth=case.depth)
    # the real images forward; the synthetic ones forward and, twice as dear, backward
    cost = hardware.work_of(network, pool.shape, case.classes * (case.batch + 3 * case.ipc), reached.dtype.itemsize)
    about = {"flops": cost.flops, "bytes_moved": cost.bytes, "floor": reached.seconds(cost)}
    return {"part": "iteration", **case.about(pool), "batch_real": case.batch, **medians(pairs), **about}


def medians(pairs: Pairs) -> dict:
    """Of both sides, and of their ratio."""
    ours, official = (median(pair[side] for pair in pairs) for side in (0, 1))
    return {"ours": ours, "official": official, "ratio": median(b / a for a, b in pairs), "turns": pairs}


def ours(case: Case, pool: TensorPool) -> Callable[[], float]:
    """What gives seconds per iteration, and goes on from where the last turn ended."""
    condenser, state, done, each = Condenser(), None, 0, 50 if ON_GPU else 4
    how = dict(ipc=case.ipc, batch_real=case.batch, network=f"convnet:depth={case.depth}")

    def turn() -> float:
        nonlocal state, done
        done, times = done + each, []

        def note(progress):
            nonlocal state
            if len(times) == 0 or progress.iteration == done:
                wait()
                times.append(time.perf_counter())
            if progress.iteration == done:
                state = progress.state

        config = CondenseConfig.preset("paper", **how, iterations=done, compile="yes", device=DEVICE.type)
        condenser.condense(pool, config, state=state, on_step=note)
        return (times[1] - times[0]) / (each - 1)

    return turn


def official(case: Case, pool: TensorPool) -> Callable[[], float]:
    images = pool.take(torch.arange(len(pool))).to(DEVICE)
    condenser = official_way.Condenser(images, pool.labels.to(DEVICE), case.ipc, case.batch, case.depth)
    return lambda: hardware.timed(condenser.step, DEVICE)


def evaluation(case: Case, turns: int) -> list[dict]:
    """Training on 100 images and testing on 10,000: an epoch of a network, a test and, made up of these, the whole
    schedule; on a GPU of 20 trained together."""
    pool, (epochs, runs) = pool_of(case), (200, 20) if ON_GPU else (10, 1)
    test = TensorPool(pool.images[:10_000], pool.labels[:10_000], pool.mean, pool.std)
    real, condensed = (test.take(torch.arange(len(test))), test.labels), Random().reduce(pool, Budget(case.ipc), seed=0)
    images, labels = condensed.images.to(DEVICE), condensed.labels.to(DEVICE)

    def ours() -> tuple[float, float]:
        times = []

        def note(run: int, epoch: int) -> None:
            if run == runs - 1 and epoch in (epochs // 5, epochs):
                wait()
                times.append(time.perf_counter())

        config = EvalConfig(epochs=epochs, machine=Machine(DEVICE.type, compile="yes"))
        evaluate(condensed, test, config, runs=runs, on_epoch=note)
        end = time.perf_counter()
        return (times[1] - times[0]) / (runs * (epochs - epochs // 5)), (end - times[1]) / runs

    def official() -> tuple[float, float]:
        train = official_way.train_and_test
        alone, both = (
            hardware.timed(lambda n=n: train(images, labels, real, n, case.classes), DEVICE) for n in (0, epochs)
        )
        return (both - alone) / epochs, alone

    ours()
    found = [(ours(), official()) for _ in range(turns)]
    parts = {"epoch": [(a[0], b[0]) for a, b in found], "test": [(a[1], b[1]) for a, b in found]}
    parts["whole"] = [(1001 * a[0] + a[1], 1001 * b[0] + b[1]) for a, b in found]
    same = {**case.about(pool), "epochs": epochs, "batch": 256}
    same["settings"] |= {"runs": runs}
    return [{"part": part, **same, **medians(pairs)} for part, pairs in parts.items()]


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


def peak_memory() -> int:
    """Bytes: of the device on a GPU, else of the whole process."""
    return torch.cuda.max_memory_allocated() if ON_GPU else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
