"""A default device that the user has set changes nothing; "meta" stands for one where no value could be read."""

import pytest
import torch

from dm_replay import PLAIN, Dct, EvalConfig, ImageSet, TensorPool, condense, evaluate, load_dataset
from dm_replay.augment.siamese import CropFlip
from dm_replay.matching.config import CondenseConfig
from dm_replay.plugins.mini_batches import TensorLoader
from dm_replay.replay.loader import ReplayLoader
from dm_replay.replay.memory import CondensedMemory

QUICK = CondenseConfig.preset(
    "fast", iterations=2, extractor_steps=2, batch_real=4, network="convnet:width=4", compile="no", device="cpu"
)


def data():
    labels = torch.tensor([0, 1] * 12, device="cpu")
    generator = torch.Generator().manual_seed(0)
    return torch.rand(24, 1, 16, 16, generator=generator, device="cpu"), labels


def condensed():
    return condense(TensorPool(*data()), QUICK).images


def evaluated():
    images, labels = data()
    config = EvalConfig().but(steps=2, compile="no", device="cpu")
    report = evaluate(
        ImageSet.from_images(images, labels), TensorPool(images, labels), config, network="convnet:width=4", runs=1
    )
    return torch.tensor(report.accuracies, device="cpu")


def remembered(kind, **settings):
    def made():
        memory = CondensedMemory(8, config=QUICK, kind=kind, **settings)
        memory.update(TensorPool(*data()))
        memory.add(TensorPool(*data()))
        memory.resize(6)
        return memory.to_set()[0].images

    return made


def replayed():
    images, labels = data()
    memory = ImageSet.from_images(images, labels, PLAIN.but(storage="uint8"))
    current = TensorLoader(images, labels, batch_size=8, augment=CropFlip(1))
    tasks = torch.zeros(24, dtype=torch.long, device="cpu")
    return torch.cat([batch[0] for batch in ReplayLoader(current, memory, tasks, rows=4, match_resolution=0.5)])


def loaded():
    train = load_dataset("digits").train
    return train.take(torch.arange(20, device="cpu"))


CASES = {
    "condense": condensed,
    "evaluate": evaluated,
    **{kind: remembered(kind) for kind in ("condensed", "herding", "random", "kmeans")},
    "codes": remembered("herding", codec=Dct()),
    "replay": replayed,
    "data": loaded,
}


@pytest.mark.parametrize("name", CASES)
def test_it_changes_nothing(name):
    expected = CASES[name]()
    with torch.device("meta"):
        found = CASES[name]()
    assert found.device.type == "cpu" and torch.equal(found, expected)
