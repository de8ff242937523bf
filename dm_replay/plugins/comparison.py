"""Which memory suits a stream: one strategy with several memories of the same bytes, one after another."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from avalanche.training.plugins import ReplayPlugin

from ..condensed.stored import RANGE
from ..condensed.tiles import PLAIN
from ..runtime.settings import whole_number
from .outcomes import Outcome, Outcomes, table
from .replay import DMReplayPlugin
from .trials import Strategy, Trials

__all__ = ["compare", "usual_memories"]

Memory = Callable[[int], Any]  # a seed -> the plugin that has the memory, or None


def compare(
    stream: Any,
    strategy: Strategy,
    mem_bytes: int,
    *,
    memories: Mapping[str, Memory] | None = None,
    batch_size_mem: int | None = None,
    seeds: int = 1,
    out: str | Path | None = None,
    say: Callable[[str], None] = print,
) -> list[Outcome]:
    """Train a strategy on a stream with each of several memories of the same bytes.

    Says first how long that will take, about. Each finished run is written into a folder, and is not made again.

    Args:
        stream: an Avalanche benchmark, with ``train_stream`` and ``test_stream``, of images as our memories take them.
        strategy: called with a list of plugins, makes a strategy that has them, with a new network and optimizer.
        mem_bytes: of each memory. Avalanche's own is given as many images as there are raw ones in these bytes.
        memories: by name, what makes their plugin of a seed; those of :func:`usual_memories` by default.
        batch_size_mem: replayed images in a mini-batch of the usual memories; as many as current ones by default.
        seeds: runs of each memory, which differ in all that is random.
        out: a folder for outcomes, table and picture. Give another one where strategy or settings have changed: what
            is noticed are only another stream, other bytes and other names of memories.
        say: what is told on the way.

    Returns:
        An outcome of each memory and seed, memory by memory.

    Raises:
        ValueError: for sizes below 1, bytes that do not hold an image of each class, images that no memory takes, a
            strategy that has the network of the one before, or a folder whose outcomes are of another stream or size.

    >>> import torch
    >>> from avalanche.benchmarks import tensors_benchmark
    >>> from avalanche.training.plugins import ReplayPlugin
    >>> from avalanche.training.supervised import Naive
    >>> from dm_replay import build_network, compare
    >>> images, labels = torch.rand(40, 1, 8, 8), torch.arange(40) // 10
    >>> parts = [(images[:20], labels[:20]), (images[20:], labels[20:])]
    >>> stream = tensors_benchmark(train_tensors=parts, test_tensors=parts, task_labels=[0, 0])
    >>> def strategy(plugins):
    ...     network = build_network("convnet:width=8,depth=2", (1, 8, 8), 4)
    ...     optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    ...     return Naive(model=network, optimizer=optimizer, plugins=plugins, evaluator=None)
    >>> two = {"none": lambda seed: None, "stock": lambda seed: ReplayPlugin(8)}
    >>> outcomes = compare(stream, strategy, mem_bytes=512, memories=two, say=lambda text: None)
    >>> [(outcome.memory, len(outcome.curve), outcome.held) for outcome in outcomes]
    [('none', 2, 0), ('stock', 2, 512)]
    """
    mem_bytes, seeds = whole_number("mem_bytes", mem_bytes, 1), whole_number("seeds", seeds, 1)
    trials = Trials(stream, strategy)
    if memories is None:
        memories = usual_memories(trials.shape, len(trials.groups), mem_bytes, batch_size_mem)
    if not memories or not all(map(callable, memories.values())):
        raise ValueError("memories must be functions by name, each of which makes a plugin of a seed")
    done = Outcomes(out, trials.identity | {"mem_bytes": mem_bytes})
    jobs = [(name, seed) for name in memories for seed in range(seeds)]
    plugins = {(name, seed): memories[name](seed) for name, seed in jobs if (name, seed) not in done}
    if plugins:
        trials.check(list(plugins.values()))
        say(trials.announced(list(plugins.values())))
    for job in list(plugins):
        done[job] = trials.outcome(plugins.pop(job), *job)
        say(f"{job[0]}, seed {job[1]}: {done[job].curve[-1]:.1f} %, {done[job].seconds:.0f} s")
    say("\n" + table(done[job] for job in jobs))
    for file in done.show():
        say(str(file))
    return [done[job] for job in jobs]


def usual_memories(
    shape: Sequence[int], groups: int, mem_bytes: int, batch_size_mem: int | None = None, **settings: Any
) -> dict[str, Memory]:
    """No memory, Avalanche's, and ours: herded whole images, herded and condensed ones in as many bytes as they take.

    Memories of whole images are left out where not one of each class fits.

    Args:
        shape: (C, H, W). groups: classes, counted in each task. settings: of ours, such as ``augment``.
    """
    replay: dict[str, Any] = (
        {} if batch_size_mem is None else {"batch_size_mem": whole_number("batch_size_mem", batch_size_mem, 1)}
    )

    def ours(**own: Any) -> Memory:
        return lambda seed: DMReplayPlugin(mem_bytes=mem_bytes, seed=seed, progress=False, **replay, **settings, **own)

    raw = prod(shape)
    whole = {
        "stock replay": lambda seed: ReplayPlugin(mem_bytes // raw, **replay),
        "herded, whole": ours(kind="herding", codec=PLAIN),
    }
    fits = mem_bytes >= groups * (raw + RANGE * shape[0]) + RANGE * shape[0]
    coded = {"herded, by Dct": ours(kind="herding"), "condensed, by Dct": ours()}
    return {"no memory": lambda seed: None, **(whole if fits else {}), **coded}
