"""Real images in the place of condensed ones, and beside them."""

from dataclasses import replace

import pytest
import torch
from pools import noisy_pixels
from sets import stored_alike

from dm_replay import Budget, CondenseConfig, CondensedBuffer, CondensedMemory, Herding, ImageSet, TensorPool
from dm_replay.runtime.seeding import derive

QUICK = CondenseConfig.preset(
    "paper", iterations=1, batch_real=4, network="convnet:width=4", compile="no", device="cpu"
)
MOSAICS = QUICK.but(tiles=2, enlarging="sharp")


def pool(counts, seed=0):
    return TensorPool(*noisy_pixels(counts, seed), mean=[0.5] * 3, std=[0.25] * 3)


def real_of(images, real):
    """Of each image, whether it is one of the real ones, up to rounding."""
    return (images[:, None] - real).abs().flatten(2).amax(2).amin(1) < 0.02


@pytest.mark.parametrize("kind", ["random", "herding"])
def test_real_images_fill_the_shares_and_are_cut_like_others(kind):
    memory, data = CondensedMemory(9, config=QUICK, kind=kind), pool({0: 9, 1: 9})
    memory.update(data, on_step=lambda *_: pytest.fail("condensed"))
    before = dict(memory.groups)
    memory.update(pool({2: 9}, seed=1))
    assert [len(part) for part in memory.groups.values()] == [3, 3, 3]
    assert memory.counts == dict.fromkeys(memory.groups, 9)
    for label in (0, 1):
        part = memory.groups[0, label]
        assert torch.equal(part.images, before[0, label].images[:3])
        assert real_of(part.images, data.take((data.labels == label).nonzero()[:, 0])).all()
        assert part.images.flatten(1).unique(dim=0).shape[0] == 3


def test_herded_ones_are_those_of_herding():
    data = pool({0: 12, 3: 12})
    memory = CondensedMemory(8, config=QUICK, kind="herding", seed=4)
    memory.update(data)
    space = memory.standardization.apply_to_pool(data)
    held, seed = ImageSet.merge(list(memory.held.values())), derive(4, "memory", 0, 0, 4)
    wanted = Herding(QUICK.network).reduce(space, Budget(4), seed=seed)
    assert torch.equal(held.labels, wanted.labels) and stored_alike(held, wanted)


@pytest.mark.parametrize("fraction", [0.25, 0.5, 0.75])
def test_any_prefix_of_a_mixed_share_keeps_the_mixture(fraction):
    memory, data = CondensedMemory(16, config=replace(QUICK, lr_img=5.0), real_fraction=fraction), pool({0: 40, 1: 40})
    memory.update(data)
    for label in (0, 1):
        part = memory.groups[0, label]
        real = real_of(part.images, data.take((data.labels == label).nonzero()[:, 0]))
        assert len(part) == 8 and int(real.sum()) == round(8 * fraction) and memory.counts[0, label] == 40
        for length in range(1, 9):
            assert abs(int(real[:length].sum()) - fraction * length) <= 1


def test_mosaics_of_few_real_images_repeat_them():
    memory = CondensedMemory(4, config=MOSAICS, kind="herding")
    memory.update(pool({0: 3, 1: 30}))
    assert [len(part) for part in memory.groups.values()] == [1, 3] and memory.to_set()[0].decoded == 16


def test_a_class_that_comes_again_keeps_old_and_new_images_by_what_they_stand_for():
    memory, first, second = CondensedMemory(8, config=QUICK, kind="random"), pool({0: 30}), pool({0: 10}, seed=1)
    memory.update(first)
    memory.update(second)
    part = memory.groups[0, 0]
    old, new = (real_of(part.images, data.take(torch.arange(len(data)))) for data in (first, second))
    assert (int(old.sum()), int(new.sum()), memory.counts[0, 0]) == (6, 2, 40)
    assert int(new[:4].sum()) == 1  # spread evenly, so that a cut keeps both


@pytest.mark.parametrize("kind", ["random", "herding"])
def test_real_images_in_a_memory_of_bytes(kind):
    fast = CondenseConfig.preset("fast", network="convnet:width=4", compile="no", device="cpu", tiles=2)
    memory = CondensedMemory(config=fast, kind=kind, mem_bytes=2_000)
    for step in range(3):
        memory.update(pool({2 * step: 70, 2 * step + 1: 70}, seed=step))
        assert memory.nbytes <= 2_000
    assert len(memory.groups) == 6 and memory.to_set()[0].storage == "uint8"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            dict(kind="coreset"),
            "unknown kind 'coreset'; choose from condensed, random, herding, kmeans, or give a Reducer",
        ),
        (dict(real_fraction=1.0), "fraction must be from 0 to below 1, got 1.0"),
        (dict(kind="random", real_fraction=0.5), "real_fraction is for kind 'condensed', got 0.5 for random"),
    ],
)
def test_what_cannot_be(settings, message):
    for made in (CondensedMemory, CondensedBuffer):
        with pytest.raises(ValueError, match=message):
            made(4, **settings)
