"""What learns in the stream benchmarks: a quick network and its augmentation."""

import functools

import torch
from torch import Tensor, nn

from dm_replay import SiameseAugment, build_network
from dm_replay.data.registry import Dataset
from dm_replay.runtime.acceleration import compiled
from dm_replay.runtime.engine import Engine, choose
from dm_replay.runtime.seeding import new_generator

__all__ = ["augmenting", "learner_of"]

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


def learner_of(cell: dict, plugins: list, metrics: list, data: Dataset):
    """An Avalanche strategy that trains the network of a cell."""
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    torch.manual_seed(cell["seed"])
    network = untrained(cell["network"], data, cell["seed"])
    how = {name: cell[name] for name in ("lr", "momentum", "weight_decay")}
    return Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), **how),
        train_mb_size=cell["batch"],
        train_epochs=cell["epochs"],
        eval_mb_size=TESTED_AT_ONCE,
        plugins=plugins,
        evaluator=EvaluationPlugin(*metrics, loggers=[]),
    )


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
