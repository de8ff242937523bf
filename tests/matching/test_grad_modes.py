"""Condensing needs gradients, whatever its caller has switched off."""

import pytest
import torch

from dm_replay import Dct, ImageSet, Tiles
from dm_replay.condensed import dct, spectrum, tiles
from dm_replay.matching.condense import condense
from dm_replay.matching.config import CondenseConfig


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_condense_turns_gradients_on(pool, mode):
    config = CondenseConfig.preset("paper", ipc=2, iterations=3, batch_real=8, network="convnet:width=16", compile="no")
    with mode():
        inside = condense(pool.subset([2, 5]), config, seed=3)
        again = condense(pool.subset([2, 5]), config, seed=3, previous=inside)
        assert not torch.is_grad_enabled()
    outside = condense(pool.subset([2, 5]), config, seed=3)
    assert torch.equal(inside.images, outside.images)
    assert torch.equal(again.images, condense(pool.subset([2, 5]), config, seed=3, previous=outside).images)


@pytest.mark.parametrize("codec", [Tiles(resolution=4), Dct()])
def test_what_was_decoded_in_inference_mode_is_condensed_after_it(pool, codec):
    for kept in (tiles._enlarging, spectrum._map_to_planes, dct._cosines):
        kept.cache_clear()
    with torch.inference_mode():
        _ = ImageSet.from_images(
            pool.take(torch.arange(4)), torch.zeros(4 // codec.fit(pool.shape).images_per_stored), codec
        ).images
    config = CondenseConfig.preset("paper", ipc=2, iterations=1, batch_real=8, network="convnet:width=16", codec=codec)
    assert len(condense(pool.subset([2, 5]), config)) == 4
