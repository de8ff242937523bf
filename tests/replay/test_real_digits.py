"""What a memory alone is worth to a fresh network on real digits, beside herded ones, in streams that people have."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dm_replay import CondenseConfig, EvalConfig, evaluate, load_dataset
from dm_replay.data.pool import TensorPool
from dm_replay.replay.memory import CondensedMemory

AUGMENT = "color_crop_cutout_scale_rotate"
SHARED = dict(prefix_weight=0.05, network="convnet:width=16", augment=AUGMENT, compile="no", device="cpu")
CONFIG = CondenseConfig.preset("fast", iterations=20, extractor_steps=30, **SHARED)
PAPER = CondenseConfig.preset("paper", iterations=30, batch_real=32, **SHARED)
SCHOOL = EvalConfig().but(steps=150, batch=64, lr=0.05, augment=AUGMENT, compile="no", device="cpu")


def digits(turned=0, side=8):
    """Training and test images, enlarged, in the values of a stream."""
    train, test, _ = load_dataset("digits")
    pools = []
    for pool in (train, test):
        images = torch.rot90(pool.take(torch.arange(len(pool))), turned, (2, 3))
        pools.append((F.interpolate(images, (side, side)), pool.labels))
    return pools


def pool(part, rows=slice(None)):
    return TensorPool(part[0][rows], part[1][rows], flip_invariant=False)


def accuracy(memory, *tests):
    """Percent of each."""
    images, _ = memory.to_set()
    found = []
    for test in tests:
        report = evaluate(images, pool(test), SCHOOL, network="convnet:width=16", runs=2, seed=1)
        found.append(sum(report.accuracies) / 2)
    return found


def firsts(labels, count):
    """The first ``count`` of each class."""
    rank = torch.stack([(labels[: row + 1] == labels[row]).sum() for row in range(len(labels))])
    return (rank <= count).nonzero()[:, 0]


def test_classes_that_return_with_an_image_each_are_worth_what_they_were():
    train, test = digits(side=16)
    few = firsts(train[1], 1)
    found = {}
    for kind in ("condensed", "herding"):
        memory = CondensedMemory(60, config=CONFIG, kind=kind)
        memory.update(pool(train))
        assert memory.to_set()[0].codec.tiles == 2
        before = accuracy(memory, test)
        memory.update(pool(train, few))
        found[kind] = [*before, *accuracy(memory, test)]
    assert found["condensed"][1] > found["condensed"][0] - 3
    assert found["condensed"][1] > found["herding"][1] - 3


SETTINGS = {"fast": dict(config=CONFIG), "mixed": dict(config=CONFIG, real_fraction=0.5), "paper": dict(config=PAPER)}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_new_domain_stands_beside_the_old_one(name):
    domains = [digits(turned) for turned in range(2)]
    tests = [test for _, test in domains]
    found = {}
    for kind, own in (("condensed", SETTINGS[name]), ("herding", dict(config=CONFIG, kind="herding"))):
        memory = CondensedMemory(100, **own)
        for train, _ in domains:
            memory.update(pool(train))
        found[kind] = accuracy(memory, *tests)
    for condensed, herded in zip(found["condensed"], found["herding"], strict=True):
        assert condensed > herded - 4


@pytest.mark.parametrize("size", [100, 500])
def test_a_stream_without_boundaries_is_remembered_from_its_first_images(size):
    train, test = digits()
    quick = replace(CONFIG, iterations=10, extractors=1, extractor_steps=20)
    order = torch.randperm(len(train[1]), generator=torch.Generator().manual_seed(0))
    found = {}
    for kind in ("condensed", "herding"):
        memory = CondensedMemory(size, config=quick, kind=kind)
        for rows in order.split(10):
            memory.add(pool(train, rows))
            assert len(memory) >= min(size // 10, 10)
        found[kind] = accuracy(memory, test)[0]
        assert memory.updates <= memory.arrivals / 5, "few condensations of many mini-batches"
    assert found["condensed"] > found["herding"] - 3
