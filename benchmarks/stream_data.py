"""The streams of streams.py, as Avalanche has them; items are tensors."""

import functools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from dm_replay import TensorPool
from dm_replay.data.registry import Dataset
from dm_replay.runtime.seeding import new_generator

from .labels import labels_of

__all__ = ["ONLINE", "STREAMS", "stream_of"]

Part = tuple[Tensor, Tensor]  # images (N, C, H, W), labels (N,)
ONLINE = ("online", "hidden")  # with boundaries that are known, or are not
STREAMS = [*labels_of("stream")]


def stream_of(cell: dict, data: Dataset):
    """An Avalanche benchmark with a ``train_stream`` and a ``test_stream``."""
    from avalanche.benchmarks import benchmark_from_datasets, split_online_stream
    from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset

    if cell["stream"] == "classes":
        return split(data, cell["experiences"], cell["seed"], joint=cell["method"] == "joint")
    parts, tests = streamed(cell["stream"], data, cell["seed"])
    groups = {"train": parts, "test": tests}
    dataset = functools.partial(_make_taskaware_tensor_classification_dataset, targets=1, task_labels=0)
    benchmark = benchmark_from_datasets(**{name: [dataset(*part) for part in own] for name, own in groups.items()})
    if cell["stream"] in ONLINE:
        known = cell["stream"] == "online"
        online = split_online_stream(
            benchmark.train_stream, cell["batch"], access_task_boundaries=known, seed=cell["seed"]
        )
        benchmark.train_stream = list(online)
    return benchmark


def split(data: Dataset, experiences: int, seed: int, joint: bool = False):
    """Experiences of as many classes each, in an order of the seed. ``joint``: trained at once."""
    from avalanche.benchmarks import class_incremental_benchmark

    order = torch.randperm(len(data.train.classes), generator=new_generator(seed, "order")).tolist()
    parts = {"train": _tensors(data.train), "test": _tensors(data.test)}
    stream = class_incremental_benchmark(parts, num_experiences=experiences, class_order=order)
    if not joint:
        return stream
    whole = class_incremental_benchmark(parts, num_experiences=1, class_order=order)
    whole.test_stream = stream.test_stream
    return whole


def streamed(stream: str, data: Dataset, seed: int) -> tuple[list[Part], list[Part]]:
    """The parts of a stream in their order, and the test images of each domain."""
    whole, tests = _all(data.train), [_all(data.test)]
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
    """A pool's images as they are trained on, part by part: TinyImageNet's take 5 GB."""
    images = torch.empty(len(pool), *pool.shape)
    for rows in torch.arange(len(pool)).split(4096):
        images[rows] = pool.take(rows)
    return images, pool.labels


def _rows(part: Part, rows: Tensor) -> Part:
    return part[0][rows], part[1][rows]


def _turned(part: Part, quarters: int) -> Part:
    return torch.rot90(part[0], quarters, (2, 3)).contiguous(), part[1]


@functools.cache
def _tensors(pool: TensorPool):
    """A pool's dataset, made once for all streams."""
    from avalanche.benchmarks.utils import as_classification_dataset

    images, labels = _all(pool)
    dataset = TensorDataset(images, labels)
    dataset.targets = labels.tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(dataset)
