"""What learns in the stream benchmarks: a quick network, its stream of tensors, its augmentation."""

import functools

import torch
from torch import Tensor, nn

from dm_replay import SiameseAugment, TensorPool, build_network
from dm_replay.data.registry import Dataset
from dm_replay.runtime.acceleration import compiled
from dm_replay.runtime.engine import Engine, choose
from dm_replay.runtime.seeding import new_generator

__all__ = ["TESTED_AT_ONCE", "QuickNetwork", "augmenting", "split", "untrained"]

TESTED_AT_ONCE = 500  # images, of which an experience's test images are a multiple: one shape to compile


class QuickNetwork(nn.Module):
    """A network compiled where that pays, each shape on its own, with bfloat16 where the processor is fast at it."""

    def __init__(self, network: nn.Module, engine: Engine):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.dtype = engine.dtype
        self._logits = compiled(self._logits_of, engine)

    def forward(self, images: Tensor) -> Tensor:
        return self._logits(self.network, images.contiguous(memory_format=torch.channels_last))

    def _logits_of(self, network: nn.Module, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            return network(images).float()


def untrained(name: str, data: Dataset, seed: int) -> QuickNetwork:
    """With the weights of a seed. The same object for every seed, so that what is compiled serves all of them."""
    shape, classes = data.spec.shape, len(data.train.classes)
    network = _quick_network(name, shape, classes, 2 * len(data.train))
    network.network.load_state_dict(build_network(name, shape, classes, seed=seed).state_dict())
    return network


@functools.cache
def _quick_network(name: str, shape: tuple[int, int, int], classes: int, images: int) -> QuickNetwork:
    return QuickNetwork(build_network(name, shape, classes), choose("cpu", "auto", "auto", shape[1:], images))


def split(data: Dataset, experiences: int, seed: int, joint: bool = False):
    """Experiences of as many classes each, in an order of the seed; items are tensors. ``joint``: trained at once."""
    from avalanche.benchmarks import class_incremental_benchmark

    order = torch.randperm(len(data.train.classes), generator=new_generator(seed, "order")).tolist()
    parts = {"train": _tensors(data.train), "test": _tensors(data.test)}
    stream = class_incremental_benchmark(parts, num_experiences=experiences, class_order=order)
    if not joint:
        return stream
    whole = class_incremental_benchmark(parts, num_experiences=1, class_order=order)
    whole.test_stream = stream.test_stream
    return whole


@functools.cache
def _tensors(pool: TensorPool):
    """A pool's images as they are trained on, made once for all streams and part by part: TinyImageNet's take 5 GB."""
    from avalanche.benchmarks.utils import as_classification_dataset
    from torch.utils.data import TensorDataset

    images = torch.empty(len(pool), *pool.shape)
    for rows in torch.arange(len(pool)).split(4096):
        images[rows] = pool.take(rows)
    dataset = TensorDataset(images, pool.labels)
    dataset.targets = pool.labels.tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(dataset)


def augmenting(data: Dataset, seed: int):
    """A plugin that augments every training mini-batch, each image on its own."""
    from avalanche.core import SupervisedPlugin

    augment, compiled_apply = _quick_augmentation(data.spec.flip_invariant, data.spec.shape[1:], 2 * len(data.train))

    class Augmenting(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.generator = new_generator(seed, "augment")

        def before_forward(self, strategy, **kwargs):
            images = strategy.mbatch[0]
            params = augment.sample(len(images), images.shape[2:], self.generator)
            strategy.mbatch[0] = compiled_apply(images, params)

    return Augmenting()


@functools.cache
def _quick_augmentation(flip_invariant: bool, size: tuple[int, int], images: int):
    """What draws, and what applies the draws to images (N, C, H, W); compiled where that pays."""
    augment = SiameseAugment.parse("auto", flip_invariant)
    engine = choose("cpu", "auto", "auto", size, images)
    return augment, compiled(lambda images, params: augment.apply(images[:, None], params)[:, 0], engine)
