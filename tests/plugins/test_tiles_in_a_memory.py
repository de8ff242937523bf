"""Mosaics in a memory: counted as stored images, replayed as what they decode to."""

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin
from streams import QUICK, labelled, plain, run

from dm_replay import CondensedBuffer, DMReplayPlugin, Tiles

FORMED = dict(QUICK | {"preset": "fast"}, tiles=2, batch_syn=6, extractor_steps=2)


def test_a_preset_and_its_fields_in_the_plugin():
    config = DMReplayPlugin(12, preset="fast", tiles=4, seconds=5.0).storage_policy.memory.config
    assert (config.lr_img, config.codec.tiles, config.seconds) == (0.5, 4, 5.0)
    assert config.iterations == 200 and config.prefix_weight == 0.05 and config.tail_average > 0


def test_mosaics_are_replayed_decoded():
    plugin = DMReplayPlugin(12, batch_size_mem=7, progress=False, **FORMED)
    spy = run(plain(), plugin)
    memory = plugin.storage_policy.memory
    assert len(memory) == 12 and memory.nbytes == 12 * (64 + 8) + 8  # pixels, scale and offset; the standardization
    images, _ = memory.to_set()
    assert images.codec.tiles == 2 and images.decoded == 48
    for batches in spy.batches[1:]:
        assert all(len(x) >= 7 for x, *_ in batches)
    assert {int(label) for x, y, *_ in spy.batches[2] for label in y[-7:]} <= {0, 1, 2, 3}


@pytest.mark.parametrize("kind", ["condensed", "herding"])
def test_images_kept_small_are_replayed_as_large_as_the_streams(kind):
    plugin = DMReplayPlugin(12, batch_size_mem=7, progress=False, kind=kind, resolution=4, **FORMED)
    spy = run(plain(), plugin)
    memory = plugin.storage_policy.memory
    assert len(memory) == 12 and memory.nbytes == 12 * (16 + 8) + 8
    assert memory.shape == (1, 8, 8) and all(len(x) >= 7 for batches in spy.batches[1:] for x, *_ in batches)


def test_half_of_the_current_images_get_the_resolution_of_a_mosaic():
    as_they_are, half = (
        run(plain(), DMReplayPlugin(12, progress=False, **matched, **FORMED), shuffle=False)
        for matched in (dict(match_resolution=0.0), {})
    )
    codec = Tiles(tiles=2)
    for number, (before, after) in enumerate(zip(as_they_are.batches, half.batches, strict=True)):
        for (x, y), (changed, same) in zip(before, after, strict=True):
            current = [] if number == 0 else range(1, 8, 2)
            wanted = x.clone()
            wanted[current] = codec.resample(x[current])
            torch.testing.assert_close(changed, wanted)
            assert torch.equal(y, same)


def test_the_buffer_of_other_plugins_holds_the_decoded_images():
    buffer = CondensedBuffer(12, progress=False, **FORMED)
    run(labelled(), ReplayPlugin(12, storage_policy=buffer))
    assert len(buffer.buffer) == 48 and len(buffer.memory) == 12
    images, _ = buffer.memory.to_set()
    torch.testing.assert_close(buffer.buffer[5][0], images.images[5])
    assert buffer.buffer[5][1] == int(images.image_labels[5])
    assert sum(len(group.buffer) for group in buffer.buffer_groups.values()) == 48


def test_seconds_are_shared_by_the_condensations_of_an_update():
    buffer = CondensedBuffer(7, progress=False, **FORMED, seconds=0.4)
    buffer.post_adapt(None, plain().train_stream[0])
    assert buffer.memory.counts == {(0, 0): 12, (0, 1): 12} and buffer.seconds < 30
