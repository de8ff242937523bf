"""Large images are condensed and stored small, and decoded to the size that they came in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reference import slow_enlarge
from torch import nn
from torch.nn import functional as F

from dm_replay import CondenseConfig, CondensedMemory, ImageSet, TensorPool, condense
from dm_replay.coresets.config import ExemplarConfig
from dm_replay.coresets.random import random_exemplars
from dm_replay.data.pixels import averaged
from dm_replay.replay.loader import ReplayLoader
from dm_replay.runtime.files import save_sealed

SMALL = dict(iterations=3, batch_real=6, network="convnet:width=4", compile="no", device="cpu")
FAST = dict(preset="fast", extractors=2, extractor_steps=2, **SMALL)


@pytest.fixture
def large(generator):
    """Three classes of uint8 images, (3, 24, 16)."""
    images = torch.randint(0, 256, (30, 3, 24, 16), generator=generator, dtype=torch.uint8)
    return TensorPool(images, torch.arange(30) % 3, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])


def shrunk(pool, size):
    return TensorPool(averaged(pool.images, size), pool.labels, pool.mean, pool.std)


@pytest.mark.parametrize(
    "config", [CondenseConfig.preset("paper", ipc=2, **SMALL), CondenseConfig.preset("paper", ipc=2, tiles=2, **FAST)]
)
@pytest.mark.parametrize("as_floats", [False, True])
def test_condensing_at_a_resolution_is_condensing_shrunk_images(large, config, as_floats):
    pool = TensorPool(large.take(torch.arange(30)), large.labels) if as_floats else large
    found = condense(pool, replace(config, resolution=12), seed=3)
    expected = condense(shrunk(pool, (12, 8)), config, seed=3)
    assert torch.equal(found.pixels, expected.pixels) and torch.equal(found.counts, expected.counts)
    assert found.encoded_shape == (3, 12, 8) and found.shape == found.images.shape[1:] == (3, 24, 16)
    assert found.nbytes == expected.nbytes


def test_images_in_a_file_are_shrunk_when_they_are_drawn(large, tmp_path):
    np.save(tmp_path / "images.npy", large.images.numpy())
    mapped = TensorPool.map(tmp_path / "images.npy", large.labels, large.mean, large.std)
    config = CondenseConfig.preset("paper", ipc=2, resolution=12, **FAST)
    assert torch.equal(condense(mapped, config).pixels, condense(large, config).pixels)
    small = mapped.shrunk(12, 8)
    assert small.images is mapped.images and small.subset([1]).take(torch.arange(10)).shape == (10, 3, 12, 8)
    assert small.to("meta").shape == small.resident([1], "meta").shape == (3, 12, 8)


def test_small_images_are_condensed_whole(pool):
    """Up to 64 x 64 pixels nothing is done to them."""
    found = [condense(pool, CondenseConfig.preset("paper", ipc=2, resolution=side, **FAST)) for side in (0, 8, 500)]
    assert all(torch.equal(one.pixels, found[0].pixels) and one.size is None for one in found)
    assert CondenseConfig.preset("paper").condensed_shape((3, 64, 64)) == (3, 64, 64)
    assert CondenseConfig.preset("paper").condensed_shape((1, 1, 128)) == (1, 1, 128)
    assert CondenseConfig.preset("paper").condensed_shape((3, 224, 224)) == (3, 64, 64)
    assert CondenseConfig.preset("paper", resolution=224).condensed_shape((3, 320, 320)) == (3, 224, 224)


@pytest.mark.parametrize("enlarging", ["linear", "sharp"])
def test_a_tile_is_enlarged_to_the_whole_size_at_once(enlarging, generator):
    stored = torch.randn(2, 1, 8, 8, generator=generator)
    found = ImageSet.from_images(stored, torch.zeros(2), tiles=2, enlarging=enlarging).decoded_to(24, 16)
    expected = [
        slow_enlarge(image[:, top : top + 4, left : left + 4], 24, 16, enlarging)
        for image in stored
        for top in (0, 4)
        for left in (0, 4)
    ]
    torch.testing.assert_close(found.images, torch.stack(expected), rtol=1e-4, atol=1e-5)
    whole = ImageSet.from_images(stored, torch.zeros(2)).decoded_to(24, 16).images
    torch.testing.assert_close(whole, F.interpolate(stored, (24, 16), mode="bilinear"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("color", [1, 2])
def test_a_set_keeps_its_size_however_it_is_cut_joined_saved_and_shown(large, color, tmp_path):
    config = CondenseConfig.preset("paper", ipc=3, tiles=2, color=color, storage="uint8", resolution=12, **FAST)
    whole = condense(large, config)
    assert whole.images.shape == (36, 3, 24, 16) and whole.encoded_shape == (3, 12, 8)
    assert whole.nbytes == 9 * (3 * (96 + 8) if color == 1 else 96 * 3 // 2 + 8)
    whole.save(tmp_path / "set.pt")
    loaded = ImageSet.load(tmp_path / "set.pt")
    joined = ImageSet.merge([loaded.of_class(1), loaded.prefix(1).of_class(0)]).with_storage("float32")
    torch.testing.assert_close(joined.images, whole.images[[*range(12, 24), *range(4)]])
    assert whole.as_stored().images.shape == (9, 3, 12, 8)
    with pytest.raises(ValueError, match="different storage, image shape"):
        ImageSet.merge([whole, condense(large, replace(config, resolution=6))])
    content = torch.load(tmp_path / "set.pt")
    for size in ((12, 8), (4, 4), (24, 0), (24, 10**6), (24,), [24, 16], (24.0, 16), "24"):
        save_sealed({**content, "size": size}, tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=r"bad.pt is a damaged condensed set: its size is .*, for images of 12x8"):
            ImageSet.load(tmp_path / "bad.pt")


@pytest.mark.parametrize("kind", ["condensed", "herding", "random"])
def test_a_memory_of_large_images_holds_small_ones(large, kind):
    config = CondenseConfig.preset("paper", tiles=1, color=1, storage="uint8", resolution=12, **FAST)
    memory = CondensedMemory(mem_bytes=24 + 12 * (3 * 96 + 24), config=config, kind=kind)
    assert memory.capacity(3, large.shape) == 12
    memory.update(large.subset([0, 1]))
    before = memory.groups[0, 0]
    memory.update(large)  # classes that come again, and a new one
    images, _ = memory.to_set()
    assert len(images) == 12 and memory.nbytes <= memory.mem_bytes and memory.shape == (3, 24, 16)
    assert images.encoded_shape == before.encoded_shape == (3, 12, 8)
    real = shrunk(large, (12, 8))
    nearest = torch.cdist(images.decoded_to(12, 8).images.flatten(1), real.take(torch.arange(30)).flatten(1)).amin(1)
    assert (nearest.max() < 0.5) == (kind != "condensed")
    memory.resize(mem_bytes=24 + 6 * (3 * 96 + 24))
    assert len(memory) == 6


@pytest.mark.parametrize("resolution", [0, 12])
def test_a_memory_begun_from_a_set_goes_on_at_its_resolution(large, resolution, tmp_path):
    config = CondenseConfig.preset("paper", tiles=1, resolution=resolution, **FAST)
    condensed = condense(large.subset([0]), replace(config, ipc=4))
    memory = CondensedMemory.from_set(condensed, 6, config=replace(config, resolution=0))
    memory.save(tmp_path / "memory.pt")
    for begun in (memory, CondensedMemory.load(tmp_path / "memory.pt")):
        begun.update(large)
        images, _ = begun.to_set()
        assert images.encoded_shape == condensed.encoded_shape and images.images.shape == (6, 3, 24, 16)


def test_replayed_images_are_of_the_stream_and_current_ones_get_their_resolution(large):
    memory = CondensedMemory(6, config=CondenseConfig.preset("paper", tiles=1, resolution=6, **FAST))
    memory.update(large)
    current = torch.randn(4, 3, 24, 16)
    loader = ReplayLoader([(current, torch.zeros(4).long())], *memory.to_set(), rows=6, match_resolution=1.0)
    ((x, _),) = loader
    assert x.shape == (10, 3, 24, 16)
    small = F.adaptive_avg_pool2d(current, (6, 4))
    expected = torch.stack([slow_enlarge(image, 24, 16, "sharp") for image in small])
    torch.testing.assert_close(x[:4], expected, rtol=1e-3, atol=1e-4)


def test_a_network_of_large_images_condenses_small_ones(large):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 16, 8), nn.ReLU(), nn.Linear(8, 3))
    found = condense(large, CondenseConfig.preset("paper", ipc=2, resolution=12, **FAST), network=network)
    assert found.encoded_shape == (3, 12, 8) and found.shape == large.shape


def test_exemplars_are_whole_unless_a_resolution_is_given(large):
    whole, small = (random_exemplars(large, ExemplarConfig(2, resolution=side), seed=1) for side in (None, 12))
    assert whole.encoded_shape == (3, 24, 16) and small.encoded_shape == (3, 12, 8) and small.shape == whole.shape
    expected = F.adaptive_avg_pool2d(whole.images, (12, 8))
    torch.testing.assert_close(small.decoded_to(12, 8).images, expected, rtol=0, atol=0.05)


def test_what_no_resolution_is():
    with pytest.raises(ValueError, match="resolution must be a whole number of at least 0, got -1"):
        CondenseConfig.preset("paper", resolution=-1)
    with pytest.raises(ValueError, match="resolution"):
        ExemplarConfig(resolution=0)
