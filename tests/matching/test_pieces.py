"""The memory budget bounds the images at a time, within a class, too, and changes no gradient."""

import subprocess
import sys

import pytest
import torch

from dm_replay import CondenseConfig, SiameseAugment, TensorPool, Tiles, condense
from dm_replay.coresets.real import random_embedding
from dm_replay.data.classes import ClassShard
from dm_replay.matching.extractors import Extractor, TrainedNetworks, read_flat
from dm_replay.matching.matcher import Matcher
from dm_replay.matching.real_batches import RealBatches
from dm_replay.matching.synthetic import SyntheticPixels, initial_pixels
from dm_replay.matching.trained_networks import train_networks
from dm_replay.networks.convnet import ConvNet
from dm_replay.runtime.engine import GIB, Engine

CPU = torch.device("cpu")
NETWORK = "convnet:width=8"
TILES = Tiles(tiles=2, enlarging="linear")


def exact(chunk=sys.maxsize):
    return Engine(CPU, torch.float64, False, 16, gradient_chunk=chunk)


@pytest.fixture
def embedded(monkeypatch):
    """How many images were embedded at a time with a gradient to come, and how many without one."""
    seen, right = {True: [], False: []}, ConvNet.embed

    def noted(self, images):
        seen[torch.is_grad_enabled()].append(len(images))
        return right(self, images)

    monkeypatch.setattr(ConvNet, "embed", noted)
    return seen


@pytest.mark.parametrize("chunk", [1, 5, 11])
@pytest.mark.parametrize(
    "batch, nested, class_weight, distance",
    [
        (0, None, 0.0, "mean"),
        (0, torch.tensor([0.3, 0.1, 1.0], dtype=torch.float64), 0.0, "moments"),
        (7, torch.tensor([0.3, 0.1, 1.0], dtype=torch.float64), 0.7, "moments"),
        (0, None, 0.7, "characteristic"),
    ],
)
def test_a_class_in_pieces_has_the_gradient_of_the_whole(pool, embedded, chunk, batch, nested, class_weight, distance):
    def after(engine):
        augment = SiameseAugment()
        extractor = Extractor(NETWORK, pool.shape, augment, engine, classes=3, distance=distance)
        flat = read_flat(extractor.network)[None]
        start = pool.draw(pool.classes, 3, torch.Generator().manual_seed(1)).double()
        matcher = Matcher(
            RealBatches(pool, ClassShard(pool.classes), 6, None, engine),
            extractor,
            SyntheticPixels(start, codec=TILES, size=pool.shape[1:], momentum=0.5, batch=batch, prefix_weight=nested),
            augment=augment,
            engine=engine,
            seed=4,
            trained=TrainedNetworks(flat, flat.flip(1)),
            class_weight=class_weight,
        )
        return [matcher.step(0), matcher.step(1), matcher.pixels]

    expected = after(exact())
    embedded[True].clear()
    torch.testing.assert_close(after(exact(chunk)), expected, rtol=1e-9, atol=1e-10)
    assert max(embedded[True]) <= chunk


@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("returning", [False, True])
def test_training_by_parts_is_the_training(pool, embedded, chunk, returning):
    previous = (
        condense(pool, CondenseConfig.preset("paper", ipc=2, iterations=1, network=NETWORK)) if returning else None
    )

    def trained(engine):
        extractor = Extractor(NETWORK, pool.shape, SiameseAugment(), engine, classes=3)
        return train_networks(pool, pool.classes, extractor, 2, 3, seed=1, previous=previous)

    expected = trained(exact())
    embedded[True].clear()
    torch.testing.assert_close(trained(exact(chunk)), expected, rtol=1e-9, atol=1e-12)
    assert max(embedded[True]) <= chunk


def test_statistics_over_all_images_are_taken_of_all(pool, embedded):
    def trained(engine):
        extractor = Extractor(f"{NETWORK},norm=batch", pool.shape, SiameseAugment(), engine, classes=3)
        return train_networks(pool, pool.classes, extractor, 1, 2, seed=1)

    torch.testing.assert_close(trained(exact(3)), trained(exact()), rtol=0, atol=0)


def test_a_network_that_cannot_keep_to_the_budget_says_so_in_a_line(pool):
    config = CondenseConfig.preset(
        "paper", ipc=2, iterations=1, network=f"{NETWORK},norm=batch", memory_budget=1e-4, compile="no"
    )
    with pytest.warns(UserWarning, match="norm=batch has statistics over all .* about 1 GiB instead of memory_budget"):
        condense(pool, config)


def test_herding_embeds_as_many_as_the_budget_allows(pool, embedded):
    room_for_5 = 5.5 * 3 * 8 * 64 * 4 / GIB
    images = pool.take(torch.arange(len(pool)))
    with torch.no_grad():
        whole, parts = (random_embedding(pool, NETWORK, 0, budget)(images) for budget in (4.0, room_for_5))
    torch.testing.assert_close(parts, whole)
    embedded_at_once = [count for count in embedded[False] if count > 1]  # one asks what an image needs
    assert embedded_at_once == [len(pool)] + [5] * 5 + [3]


def test_the_start_is_drawn_class_by_class(pool, monkeypatch):
    taken, right = [], TensorPool.take
    monkeypatch.setattr(TensorPool, "take", lambda self, rows: taken.append(rows.numel()) or right(self, rows))
    config = CondenseConfig.preset("paper", ipc=2, tiles=2).fit(pool.shape)
    start = initial_pixels(pool, ClassShard(pool.classes), None, config, seed=1)
    assert start.shape == (3, 2, 3, 8, 8) and max(taken) == 2 * 2**2


PEAK = """
import sys, torch
from dm_replay import CondenseConfig, CondensedMemory, TensorPool

def status(name):
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

torch.set_num_threads(1)
side, budget = int(sys.argv[1]), float(sys.argv[2])
pool = TensorPool(torch.rand(40, 3, side, side), [0, 1] * 20)
config = CondenseConfig.preset(
    "fast", iterations=1, extractors=1, extractor_steps=1, network="convnet:width=8", memory_budget=budget,
    resolution=side,
)
before = status("VmRSS")
CondensedMemory(20, config=config).update(pool)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_large_images_keep_to_the_budget():
    budget = 0.05
    command = [sys.executable, "-c", PEAK, "160", str(budget)]
    peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert peak <= (1.5 * budget + 1) * GIB
