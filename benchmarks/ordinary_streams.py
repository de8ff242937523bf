"""Streams as people have them: classes that return, domains, blurry and hidden boundaries, digits of scikit-learn.

    python benchmarks/ordinary_streams.py            # all cells, four seeds; those that are there are kept

A memory of the plugin, condensed or herded, beside Avalanche's two usual buffers in the same bytes.
"""

import argparse
import time
import warnings
from collections.abc import Iterator
from statistics import mean

import torch
from common import command, here, markdown, read_results, spread, write_cell
from torch import Tensor

from dm_replay import TensorPool, build_network, load_dataset
from dm_replay.runtime.seeding import derive, new_generator

__all__ = ["MEMORIES", "STREAMS", "main", "table"]

NAME = "ordinary_streams"
Part = tuple[Tensor, Tensor]  # images (N, 1, 8, 8), labels (N,)
MEMORIES = {
    "condensed": "condensed",
    "herding": 'herded (`kind="herding"`)',
    "condensed, plain": "condensed, `augment_replay=False`",
    "herding, plain": "herded, `augment_replay=False`",
    "reservoir": "Avalanche's `ReservoirSamplingBuffer`",
    "balanced": "Avalanche's `ClassBalancedBuffer`",
}
RETURNING = (1, 2, 5, 20)
STREAMS = {
    **{f"returning {k}": f"two new classes at a time, each old one returns with {k}" for k in RETURNING},
    "domains": "three domains: upright, turned by 90° and by 180°",
    "instances": "new instances: five parts of all classes",
    "blurry": "blurry boundaries: a fifth of each class's images come at another time",
    "tens": "class by class, ten images at a time",
    **{f"online, {size}": f"online, boundaries known, {size} images" for size in (100, 500, 1000, 2000)},
    **{f"hidden, {size}": f"online, boundaries hidden, {size} images" for size in (100, 500, 1000, 2000)},
}
RAW = 64  # bytes of an image
AUGMENT = "color_crop_cutout_scale_rotate"
MADE = dict(
    preset="fast", iterations=30, extractor_steps=30, network="convnet:width=16", augment=AUGMENT, prefix_weight=0.05
)
LR, EPOCHS, BATCH, ONLINE_BATCH = 0.1, 4, 16, 10
NETWORK = "convnet:width=32"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", nargs="+", choices=STREAMS, default=list(STREAMS))
    parser.add_argument("--memories", nargs="+", choices=MEMORIES, default=list(MEMORIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3])
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for seed in options.seeds:
        for stream in options.streams:
            for memory in options.memories:
                key = f"{stream}; {memory}; seed {seed}"
                if key not in read_results(NAME):
                    write_cell(NAME, key, measure(stream, memory, seed))
                print(f"{100 * read_results(NAME)[key]['accuracy']:5.1f}   {key}", flush=True)
    print(table())


def measure(stream: str, memory: str, seed: int) -> dict:
    """A cell: accuracy at the end over all classes and domains."""
    from avalanche.training.supervised import Naive

    parts, tests = streamed(stream, seed)
    online = stream.startswith(("online", "hidden"))
    images = int(stream.split(", ")[1]) if online else 100
    plugin = plugin_of(memory, images, seed)
    torch.manual_seed(seed)
    network = build_network(NETWORK, (1, 8, 8), 10, seed=derive(seed, "learner"))
    learner = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), LR),
        train_mb_size=ONLINE_BATCH if online else BATCH,
        train_epochs=1 if online else EPOCHS,
        plugins=[plugin],
        evaluator=None,
    )
    started = time.perf_counter()
    learner.train(experiences(parts, stream, seed))
    return {
        "stream": stream,
        "memory": memory,
        "seed": seed,
        "accuracy": mean(accuracy(network, test) for test in tests),
        "images": images,
        "bytes": bytes_of(plugin.storage_policy),
        "seconds": time.perf_counter() - started,
        "settings": {"epochs": learner.train_epochs, "batch": learner.train_mb_size, "lr": LR, **MADE},
        "command": command(),
        **here(),
    }


def streamed(stream: str, seed: int) -> tuple[list[Part], list[Part]]:
    """The parts of a stream in their order, and the test images of each domain."""
    train, test, _ = load_dataset("digits")
    whole, tests = _all(train), [_all(test)]
    generator = new_generator(seed, "stream")
    classes = torch.randperm(10, generator=generator)
    own = [whole[1] == label for label in classes]
    if stream.startswith("returning"):
        count = int(stream.split()[1])
        return [_rows(whole, rows) for rows in _returning(own, count, generator)], tests
    if stream == "domains":
        return [_turned(whole, k) for k in range(3)], [_turned(tests[0], k) for k in range(3)]
    if stream == "instances":
        order = torch.randperm(len(whole[1]), generator=generator)
        return [_rows(whole, rows) for rows in order.chunk(5)], tests
    if stream == "blurry":
        place = torch.stack(own).float().argmax(0) // 2
        other = torch.randint(5, place.shape, generator=generator)
        place = torch.where(torch.rand(place.shape, generator=generator) < 0.2, other, place)
        return [_rows(whole, (place == number).nonzero()[:, 0]) for number in range(5)], tests
    if stream == "tens":
        return [_rows(whole, rows) for part in own for rows in part.nonzero()[:, 0].split(10)], tests
    return [_rows(whole, torch.stack(own[k : k + 2]).any(0).nonzero()[:, 0]) for k in range(0, 10, 2)], tests


def _returning(own: list[Tensor], count: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Two new classes at a time, beside ``count`` images of each class before, which come again."""
    for first in range(0, 10, 2):
        rows = [part.nonzero()[:, 0] for part in own[: first + 2]]
        few = [part[torch.randperm(len(part), generator=generator)[:count]] for part in rows[:first]]
        yield torch.cat([*few, *rows[first:]])


def _all(pool: TensorPool) -> Part:
    return pool.take(torch.arange(len(pool))), pool.labels


def _rows(part: Part, rows: Tensor) -> Part:
    return part[0][rows], part[1][rows]


def _turned(part: Part, quarters: int) -> Part:
    return torch.rot90(part[0], quarters, (2, 3)).contiguous(), part[1]


def experiences(parts: list[Part], stream: str, seed: int):
    """An Avalanche stream of the parts, online where its name says so."""
    from avalanche.benchmarks import benchmark_from_datasets, split_online_stream
    from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset

    data = [_make_taskaware_tensor_classification_dataset(*part, targets=1, task_labels=0) for part in parts]
    whole = benchmark_from_datasets(train=data).train_stream
    if not stream.startswith(("online", "hidden")):
        return whole
    known = stream.startswith("online")
    return split_online_stream(whole, ONLINE_BATCH, access_task_boundaries=known, seed=seed)


def plugin_of(memory: str, images: int, seed: int):
    """Replay from a memory of the bytes of so many images, as many in each mini-batch as there are current ones."""
    from avalanche.training.plugins import ReplayPlugin
    from avalanche.training.storage_policy import ClassBalancedBuffer, ReservoirSamplingBuffer

    from dm_replay import CondensedBuffer, DMReplayPlugin

    if memory in ("reservoir", "balanced"):
        made = {"reservoir": ReservoirSamplingBuffer, "balanced": ClassBalancedBuffer}[memory]
        return ReplayPlugin(images, storage_policy=made(images))
    kind, *plain = memory.split(", ")
    buffer = CondensedBuffer(mem_bytes=images * RAW, kind=kind, seed=seed, progress=False, storage="uint8", **MADE)
    return DMReplayPlugin(mem_bytes=images * RAW, storage_policy=buffer, augment_replay=not plain)


def bytes_of(buffer) -> int:
    return buffer.memory.nbytes if hasattr(buffer, "memory") else len(buffer.buffer) * RAW


@torch.no_grad()
def accuracy(network: torch.nn.Module, test: Part) -> float:
    network.eval()
    return float((network(test[0]).argmax(1) == test[1]).float().mean())


def table() -> str:
    """Accuracy at the end, mean and deviation over the seeds, of each stream and memory."""
    cells, rows = list(read_results(NAME).values()), []
    for stream, text in STREAMS.items():
        found = [
            [100 * c["accuracy"] for c in cells if (c["stream"], c["memory"]) == (stream, memory)]
            for memory in MEMORIES
        ]
        if any(found):
            rows.append([text, *map(spread, found)])
    return markdown(["", *MEMORIES.values()], rows)


if __name__ == "__main__":
    main()
