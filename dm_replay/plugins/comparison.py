"""Which memory suits a stream: one strategy with several memories of the same bytes, one after another."""

import contextlib
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from math import ceil, prod
from pathlib import Path
from typing import Any

from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin, SupervisedPlugin

from ..condensed.tiles import PLAIN
from ..matching.reducer import Condense, Mixed
from ..replay.memory import DEFAULT
from ..runtime.seeding import isolated
from ..runtime.settings import whole_number
from .metrics import StreamMetrics
from .outcomes import Outcome, Outcomes, table
from .replay import DMReplayPlugin

__all__ = ["compare", "outcome_of", "usual_memories"]

RANGE = 8  # bytes of a channel's scale and offset
FIRST, TIMED = 2, 6  # iterations: not counted, since they warm up, and counted
TESTED = 1 / 3  # of the time of training on an image, that of testing one
Memory = Callable[[int], Any]  # a seed -> the plugin that has the memory, or None


def compare(
    stream: Any,
    strategy: Callable[[list[Any]], Any],
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
        stream: an Avalanche benchmark, with ``train_stream`` and ``test_stream``.
        strategy: called with a list of plugins, makes a strategy that has them, with a new network and optimizer.
        mem_bytes: of each memory. Avalanche's own is given as many images as there are raw ones in these bytes.
        memories: by name, what makes their plugin of a seed; those of :func:`usual_memories` by default.
        batch_size_mem: replayed images in a mini-batch of the usual memories; as many as current ones by default.
        seeds: runs of each memory, which differ in all that is random.
        out: a folder for outcomes, table and picture. Of another strategy give another one: only another stream,
            other bytes and other names of memories are noticed.
        say: what is told on the way.

    Returns:
        An outcome of each memory and seed, memory by memory.

    Raises:
        ValueError: for sizes below 1, bytes that do not hold an image of each class, or a folder whose outcomes are of
            another stream or size.

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
    whole_number("mem_bytes", mem_bytes, 1)
    whole_number("seeds", seeds, 1)
    about = _about(stream, mem_bytes)
    replay = {} if batch_size_mem is None else {"batch_size_mem": whole_number("batch_size_mem", batch_size_mem, 1)}
    chosen = (
        usual_memories(about["shape"], len(about["classes"]), mem_bytes, **replay) if memories is None else memories
    )
    done = Outcomes(out, about)
    jobs = [(name, seed) for name in chosen for seed in range(seeds)]
    left = [job for job in jobs if job not in done]
    if left:
        plugins = [chosen[name](seed) for name, seed in left]
        for plugin in filter(_is_ours, plugins):
            plugin.storage_policy.memory.lengths(len(about["classes"]), tuple(about["shape"]))
        say(_announced(stream, strategy, plugins))
    for name, seed in left:
        done[name, seed] = outcome_of(stream, strategy, chosen[name](seed), name, seed)
        say(f"{name}, seed {seed}: {done[name, seed].curve[-1]:.1f} %, {done[name, seed].seconds:.0f} s")
    say("\n" + table(done[job] for job in jobs))
    for file in done.show():
        say(str(file))
    return [done[job] for job in jobs]


def usual_memories(shape: Sequence[int], classes: int, mem_bytes: int, **replay: Any) -> dict[str, Memory]:
    """No memory, Avalanche's, and ours: herded whole images, herded and condensed ones in as many bytes as they take.

    Memories of whole images are left out where not one of each class fits.

    Args:
        shape: (C, H, W). replay: settings that Avalanche's plugin has, too.
    """

    def ours(**settings: Any) -> Memory:
        return lambda seed: DMReplayPlugin(mem_bytes=mem_bytes, seed=seed, progress=False, **replay, **settings)

    raw = prod(shape)
    whole = {
        "stock replay": lambda seed: ReplayPlugin(mem_bytes // raw, **replay),
        "herded, whole": ours(kind="herding", codec=PLAIN),
    }
    fits = mem_bytes >= classes * (raw + RANGE * shape[0]) + RANGE * shape[0]
    coded = {"herded, by Dct": ours(kind="herding"), "condensed, by Dct": ours()}
    return {"no memory": lambda seed: None, **(whole if fits else {}), **coded}


def outcome_of(stream: Any, strategy: Callable[[list[Any]], Any], plugin: Any, name: str, seed: int) -> Outcome:
    """Train on all experiences with one memory, and test after each on those trained so far."""
    started, curve, metric = time.perf_counter(), [], StreamMetrics()
    with isolated(seed, "compare"), warnings.catch_warnings(record=True):  # Avalanche calls what it deprecates
        learner = strategy([] if plugin is None else [plugin])
        learner.plugins.append(EvaluationPlugin(metric, loggers=[]))
        for number, experience in enumerate(stream.train_stream):
            learner.train(experience)
            learner.eval(_tests(stream, number))
            curve.append(100 * metric.result()["AverageAccuracy"])
    forgetting = 100 * metric.result().get("Forgetting", 0.0)
    return Outcome(name, seed, curve, forgetting, _held(plugin), time.perf_counter() - started)


def _tests(stream: Any, number: int) -> Any:
    """The test experiences up to a training, or all where there are not as many as trainings."""
    alike = len(stream.test_stream) == len(stream.train_stream)
    return stream.test_stream[: number + 1] if alike else stream.test_stream


def _held(plugin: Any) -> int:
    """Bytes of a memory; of Avalanche's those of its images, a byte for each value."""
    if plugin is None:
        return 0
    if _is_ours(plugin):
        return plugin.storage_policy.memory.nbytes
    images = plugin.storage_policy.buffer
    return len(images) * images[0][0].numel() if len(images) else 0


def _is_ours(plugin: Any) -> bool:
    return isinstance(plugin, DMReplayPlugin)


def _about(stream: Any, mem_bytes: int) -> dict[str, Any]:
    """What tells a stream from another, as JSON gives it back."""
    train, tests = list(stream.train_stream), list(stream.test_stream)
    if not train or not tests:
        raise ValueError("the stream has no experiences to train on, or none to test on")
    classes = sorted({int(label) for experience in train for label in experience.dataset.targets})
    sizes = {"images": [len(e.dataset) for e in train], "test images": [len(e.dataset) for e in tests]}
    return {"mem_bytes": mem_bytes, "shape": list(train[0].dataset[0][0].shape), "classes": classes, **sizes}


class _Known(Exception):
    """The pace is known: the trial ends."""


class _Pace(SupervisedPlugin):
    """Times some iterations of a training and ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    @property
    def seconds(self) -> float:
        """Of an iteration."""
        timed = self.ends[min(FIRST, len(self.ends) - 2) :] if len(self.ends) > 1 else self.ends
        return (timed[-1] - timed[0]) / max(1, len(timed) - 1) if timed else 0.0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.ends.append(time.perf_counter())
        if len(self.ends) > FIRST + TIMED:
            raise _Known


def _announced(stream: Any, strategy: Callable[[list[Any]], Any], plugins: Sequence[Any]) -> str:
    """How long such runs will take, from some iterations without a memory."""
    pace = _Pace()
    with isolated(0, "pace"), warnings.catch_warnings(record=True), contextlib.suppress(_Known):
        learner = strategy([pace])
        learner.train(stream.train_stream[0])
    batch = learner.train_mb_size
    trained = learner.train_epochs * sum(ceil(len(e.dataset) / batch) for e in stream.train_stream)
    tested = sum(len(e.dataset) for n in range(len(stream.train_stream)) for e in _tests(stream, n)) / batch
    replayed = sum((getattr(plugin, "batch_size_mem", None) or batch) / batch for plugin in plugins if plugin)
    seconds = pace.seconds * (trained * (len(plugins) + replayed) + TESTED * tested * len(plugins))
    reducers = [plugin.storage_policy.memory.reducer for plugin in filter(_is_ours, plugins)]
    condensed = sum(isinstance(reducer, Condense | Mixed) for reducer in reducers)
    patience = (DEFAULT.patience or 0.0) * condensed * len(stream.train_stream)
    told = f"{len(plugins)} runs, about {_duration(seconds)} of training and testing"
    return told + (f", and at most {_duration(patience)} of condensing" if condensed else "")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
