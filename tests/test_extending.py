"""A reducer and a codec of somebody else, as the documentation shows them, work wherever ours do."""

import sys
from pathlib import Path

import pytest
import torch
from streams import labelled, strategy

from dm_replay import (
    PLAIN,
    Budget,
    CondenseConfig,
    CondensedMemory,
    DMReplayPlugin,
    EvalConfig,
    ImageSet,
    condense,
    evaluate,
    load_dataset,
)

sys.path.append(str(Path(__file__).parents[1] / "examples"))

from own_codec import EverySecondPixel  # noqa: E402
from own_reducer import MeanImage  # noqa: E402

WAYS = {
    "reducer": dict(kind=MeanImage(), codec=PLAIN),
    "codec": dict(kind="herding", codec=EverySecondPixel()),
    "both": dict(kind=MeanImage(), codec=EverySecondPixel()),
}
digits = load_dataset("digits")


def test_means_are_held():
    memory = CondensedMemory(20, **WAYS["reducer"])
    memory.update(digits.train)
    assert len(memory) == 10
    for (_, label), held in memory.groups.items():
        mean = digits.train.take(digits.train.of_classes([label])).mean(0)
        torch.testing.assert_close(held.images[0], mean, atol=0.01, rtol=0)


def test_every_second_pixel_is_held():
    images = torch.randn(4, 3, 8, 8)
    held = ImageSet.from_images(images, torch.zeros(4), EverySecondPixel())
    torch.testing.assert_close(held.images[:, :, ::2, ::2], images[:, :, ::2, ::2], atol=0.02, rtol=0)
    assert held.nbytes == 4 * held.codec.nbytes((3, 8, 8)) == 4 * 3 * (16 + 8)


@pytest.mark.parametrize("way", WAYS)
def test_in_a_memory_and_its_file(way, tmp_path):
    memory = CondensedMemory(mem_bytes=1000, **WAYS[way])
    for classes in ([0, 1, 2], [3, 4], [0, 5]):
        memory.update(digits.train.subset(classes))
        assert 0 < memory.nbytes <= 1000
    memory.save(tmp_path / "memory.pt")
    again = CondensedMemory.load(tmp_path / "memory.pt")
    assert torch.equal(again.to_set()[0].images, memory.to_set()[0].images)
    assert set(again.groups) == {(0, label) for label in range(6)}


@pytest.mark.parametrize("way", WAYS)
def test_in_the_plugin(way):
    replay = DMReplayPlugin(12, batch_size_mem=4, **WAYS[way])
    learner = strategy(replay)
    for experience in labelled().train_stream:
        learner.train(experience)
    assert len(replay.storage_policy.buffer) in (6, 12)


def test_in_evaluate():
    images = MeanImage().reduce(digits.train, Budget(1, EverySecondPixel()), seed=0)
    report = evaluate(images, digits.test, EvalConfig(steps=30, batch=10), network="convnet:width=8", runs=1)
    assert report.accuracies[0] > 20


def test_condensing_goes_through_the_codec():
    own = dict(iterations=2, batch_real=4, network="convnet:width=4", codec=EverySecondPixel())
    config = CondenseConfig.preset("paper", ipc=2, compile="no", **own)
    condensed = condense(digits.train, config, seed=0)
    assert condensed.codec == EverySecondPixel() and condensed.images.shape == (20, 1, 8, 8)
