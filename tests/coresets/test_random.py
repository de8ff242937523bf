import pytest
import torch
from sets import random_set, stored_alike

from dm_replay import PLAIN, Budget, CondenseConfig, Random, TensorPool, Tiles
from dm_replay.condensed.tiles import encode_tiles


def test_exemplars_are_real_images_of_each_class(pool):
    drawn = Random().reduce(pool, Budget(4), seed=1)
    real = pool.take(torch.arange(len(pool)))
    assert drawn.labels.tolist() == [2] * 4 + [5] * 4 + [9] * 4 and drawn.storage == "uint8"
    assert drawn.counts.tolist() == pool.counts.tolist() and drawn.meta["mean"] == list(pool.mean)
    for image, label in zip(drawn.images, drawn.labels, strict=True):
        assert (real[pool.labels == label] - image).abs().flatten(1).amax(1).min() < 0.02


def test_one_form_whatever_the_configuration(pool):
    drawn = Random().reduce(pool, Budget(3), seed=5)
    assert stored_alike(random_set(pool, 3, seed=5), drawn)
    assert not stored_alike(random_set(pool, 3, seed=6), drawn)
    config = CondenseConfig.preset("paper", storage="float32")
    condensed_like = Random().reduce(pool, Budget(3, config.codec), seed=5)
    assert condensed_like.storage == "float32" and (condensed_like.images - drawn.images).abs().max() < 0.02
    floats = TensorPool(pool.images.float(), pool.labels)
    assert Random().reduce(floats, Budget(1), seed=0).storage == "float32"


def test_shrunk_into_the_same_bytes(pool):
    shrunk = Random().reduce(pool, Budget(1, Tiles(2, storage="float32")), seed=1)
    whole = Random().reduce(pool, Budget(4, PLAIN.but(storage="float32")), seed=1)
    assert (len(shrunk), shrunk.decoded, shrunk.nbytes) == (3, 12, whole.nbytes / 4)
    assert torch.equal(shrunk.values, encode_tiles(whole.images, 2))


def test_bad_settings(pool):
    with pytest.raises(ValueError, match="class 2 has 7 images, fewer than 10"):
        Random().reduce(pool, Budget(10), seed=0)
    for ipc in (0, 1.5):
        with pytest.raises(ValueError, match=f"ipc must be a whole number of at least 1, got {ipc}"):
            Budget(ipc)
    with pytest.raises(ValueError, match="storage 'int4'; choose from auto, float32, float16, uint8"):
        Tiles(storage="int4")
