"""What the pixels start from."""

import pytest
import torch

from dm_replay import CondenseConfig, Tiles, condense
from dm_replay.condensed.image_set import ImageSet
from dm_replay.coresets.real import herded, random_embedding
from dm_replay.data.classes import ClassShard
from dm_replay.matching.synthetic import initial_pixels, values_as

HERDING = CondenseConfig.preset("paper", ipc=4, init="herding", network="convnet:width=8")


def start(pool, config, shard=slice(None), previous=None):
    return initial_pixels(pool, ClassShard(pool.classes, shard), previous, config, seed=3)


def test_herding_starts_from_the_images_that_herding_takes(pool):
    embed = random_embedding(pool, HERDING.network, seed=3)
    for number, label in enumerate(pool.classes):
        own = (pool.labels == label).nonzero()[:, 0]
        assert torch.equal(start(pool, HERDING)[number], pool.take(herded(pool, own, 4, embed)))


def test_they_are_chosen_among_random_candidates(pool, monkeypatch):
    monkeypatch.setattr("dm_replay.matching.synthetic.FEWEST", 4)
    monkeypatch.setattr("dm_replay.matching.synthetic.CANDIDATES", 1)
    random = start(pool, CondenseConfig.preset("paper", ipc=4))  # as many as are wanted: all of them are taken
    for drawn, taken in zip(random, start(pool, HERDING), strict=True):
        assert (drawn[:, None] == taken).flatten(2).all(2).sum(0).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("init", ["real", "herding"])
def test_the_start_of_a_class_does_not_depend_on_the_shard(pool, init):
    config = CondenseConfig.preset("paper", ipc=2, init=init, tiles=2, network="convnet:width=8")
    whole = start(pool, config)
    assert torch.equal(torch.cat([start(pool, config, slice(0, 1)), start(pool, config, slice(1, 3))]), whole)


def test_mosaics_of_few_images_repeat_them_and_plain_sets_take_the_previous(pool):
    eight = CondenseConfig.preset("paper", ipc=8, init="herding", network="convnet:width=8")
    with pytest.raises(ValueError, match="class 2 has 7 real images, fewer than ipc 8"):
        start(pool, eight)
    previous = ImageSet.from_images(torch.full((1, 3, 8, 8), 0.5), torch.tensor([2]))
    old = (start(pool, eight, previous=previous)[0] == 0.5).flatten(1).all(1)
    assert int(old.sum()) == 1
    mosaics = CondenseConfig.preset(
        "paper", ipc=2, tiles=2, init="herding", network="convnet:width=8", iterations=1, compile="no", device="cpu"
    )
    assert condense(pool, mosaics).decoded == 24


def test_a_set_that_stores_otherwise_is_coded_again():
    images = ImageSet.from_images(torch.rand(3, 3, 8, 8), torch.zeros(3))
    for codec in (images.codec, images.codec.but(storage="uint8")):
        assert torch.equal(values_as(images, codec), images.images)
    assert values_as(images, Tiles(2).fit((3, 8, 8))).shape == (1, 3, 8, 8)
    brighter = images.with_affine(torch.ones(3), torch.full((3,), 2.0))
    torch.testing.assert_close(values_as(brighter, images.codec), images.images + 2)
