import pytest
import torch
from dm_replay.coresets.config import ExemplarConfig

from dm_replay import CondenseConfig, TensorPool
from dm_replay.condensed.mosaic import encode_tiles
from dm_replay.coresets.random import random_exemplars, random_set


def test_exemplars_are_real_images_of_each_class(pool):
    drawn = random_exemplars(pool, ExemplarConfig(4), seed=1)
    real = pool.take(torch.arange(len(pool)))
    assert drawn.labels.tolist() == [2] * 4 + [5] * 4 + [9] * 4 and drawn.storage == "uint8"
    assert drawn.counts.tolist() == pool.counts.tolist() and drawn.meta["mean"] == list(pool.mean)
    for image, label in zip(drawn.images, drawn.labels, strict=True):
        assert (real[pool.labels == label] - image).abs().flatten(1).amax(1).min() < 0.02


def test_one_form_whatever_the_configuration(pool):
    drawn = random_exemplars(pool, ExemplarConfig(3), seed=5)
    assert torch.equal(random_set(pool, 3, seed=5).pixels, drawn.pixels)
    assert not torch.equal(random_set(pool, 3, seed=6).pixels, drawn.pixels)
    condensed_like = random_exemplars(pool, CondenseConfig.preset("paper", ipc=3, storage="float32"), seed=5)
    assert condensed_like.storage == "float32" and (condensed_like.images - drawn.images).abs().max() < 0.02
    assert random_exemplars(TensorPool(pool.images.float(), pool.labels), ExemplarConfig(1)).storage == "float32"


def test_shrunk_into_the_same_bytes(pool):
    shrunk = random_exemplars(pool, ExemplarConfig(1, storage="float32", tiles=2), seed=1)
    whole = random_exemplars(pool, ExemplarConfig(4, storage="float32"), seed=1)
    assert (len(shrunk), shrunk.decoded, shrunk.nbytes) == (3, 12, whole.nbytes / 4)
    assert torch.equal(shrunk.pixels, encode_tiles(whole.images, 2))


def test_bad_settings(pool):
    with pytest.raises(ValueError, match="class 2 has 7 images, fewer than 10"):
        random_exemplars(pool)
    for ipc in (0, 1.5):
        with pytest.raises(ValueError, match=f"ipc must be a whole number of at least 1, got {ipc}"):
            ExemplarConfig(ipc)
    with pytest.raises(ValueError, match="storage 'int4'; choose from auto, float32, float16, uint8"):
        ExemplarConfig(storage="int4")
