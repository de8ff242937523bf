"""Large images are condensed and stored small, and decoded to the size that they came in."""

import numpy as np
import pytest
import torch
from reference import slow_enlarge
from torch import nn
from torch.nn import functional as F

from dm_replay import (
    PLAIN,
    Budget,
    CondenseConfig,
    CondensedMemory,
    ImageSet,
    Random,
    TensorPool,
    Tiles,
    condense,
)
from dm_replay.data.pixels import averaged
from dm_replay.replay.loader import ReplayLoader
from dm_replay.runtime.files import save_sealed

SMALL = dict(iterations=3, batch_real=6, network="convnet:width=4", compile="no", device="cpu")
FAST = CondenseConfig.preset("fast", extractors=2, extractor_steps=2, **SMALL)


@pytest.fixture
def large(generator):
    """Three classes of uint8 images, (3, 24, 16)."""
    images = torch.randint(0, 256, (30, 3, 24, 16), generator=generator, dtype=torch.uint8)
    return TensorPool(images, torch.arange(30) % 3, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])


def shrunk(pool, size):
    return TensorPool(averaged(pool.images, size), pool.labels, pool.mean, pool.std)


@pytest.mark.parametrize("config", [CondenseConfig.preset("paper", ipc=2, **SMALL), FAST.but(ipc=2, tiles=2)])
@pytest.mark.parametrize("as_floats", [False, True])
def test_condensing_at_a_resolution_is_condensing_shrunk_images(large, config, as_floats):
    pool = TensorPool(large.take(torch.arange(30)), large.labels) if as_floats else large
    found = condense(pool, config.but(resolution=12), seed=3)
    expected = condense(shrunk(pool, (12, 8)), config, seed=3)
    assert torch.equal(found.values, expected.values) and torch.equal(found.counts, expected.counts)
    assert found.codec.working_shape(found.shape) == (3, 12, 8) and found.shape == found.images.shape[1:] == (3, 24, 16)
    assert found.nbytes == expected.nbytes


def test_images_in_a_file_are_shrunk_when_they_are_drawn(large, tmp_path):
    np.save(tmp_path / "images.npy", large.images.numpy())
    mapped = TensorPool.map(tmp_path / "images.npy", large.labels, large.mean, large.std)
    config = FAST.but(ipc=2, resolution=12)
    assert torch.equal(condense(mapped, config).values, condense(large, config).values)
    small = mapped.shrunk(12, 8)
    assert small.images is mapped.images and small.subset([1]).take(torch.arange(10)).shape == (10, 3, 12, 8)
    assert small.to("meta").shape == small.resident([1], "meta").shape == (3, 12, 8)


def test_small_images_are_condensed_whole(pool):
    """Up to 64 x 64 pixels nothing is done to them."""
    found = [condense(pool, FAST.but(ipc=2, resolution=side)) for side in (0, 8, 500)]
    assert all(torch.equal(one.values, found[0].values) and one.codec.size == (8, 8) for one in found)
    assert Tiles().working_shape((3, 64, 64)) == (3, 64, 64)
    assert Tiles().working_shape((1, 1, 128)) == (1, 1, 128)
    assert Tiles().working_shape((3, 224, 224)) == (3, 64, 64)
    assert Tiles(resolution=224).working_shape((3, 320, 320)) == (3, 224, 224)


def enlarged_to(shape, values, codec):
    """The training images of this shape that such values stand for."""
    return ImageSet.from_values(values, torch.zeros(len(values)), codec.but(size=(8, 8)).fit(shape), shape).images


@pytest.mark.parametrize("enlarging", ["linear", "sharp"])
def test_a_tile_is_enlarged_to_the_whole_size_at_once(enlarging, generator):
    stored = torch.randn(2, 1, 8, 8, generator=generator)
    found = enlarged_to((1, 24, 16), stored, Tiles(tiles=2, enlarging=enlarging))
    expected = [
        slow_enlarge(image[:, top : top + 4, left : left + 4], 24, 16, enlarging)
        for image in stored
        for top in (0, 4)
        for left in (0, 4)
    ]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-5)
    whole = enlarged_to((1, 24, 16), stored, PLAIN)
    torch.testing.assert_close(whole, F.interpolate(stored, (24, 16), mode="bilinear"), rtol=1e-4, atol=1e-5)


def test_a_set_keeps_its_size_however_it_is_cut_joined_saved_and_shown(large, tmp_path):
    config = FAST.but(ipc=3, tiles=2, storage="uint8", resolution=12)
    whole = condense(large, config)
    assert whole.images.shape == (36, 3, 24, 16) and whole.codec.working_shape(whole.shape) == (3, 12, 8)
    assert whole.nbytes == 9 * 3 * (96 + 8)
    whole.save(tmp_path / "set.pt")
    loaded = ImageSet.load(tmp_path / "set.pt")
    joined = ImageSet.merge([loaded.of_class(1), loaded.prefix(1).of_class(0)]).with_storage("float32")
    torch.testing.assert_close(joined.images, whole.images[[*range(12, 24), *range(4)]])
    assert whole.as_stored().images.shape == (9, 3, 12, 8)
    with pytest.raises(ValueError, match="different codec, image shape"):
        ImageSet.merge([whole, condense(large, config.but(resolution=6))])
    content = torch.load(tmp_path / "set.pt")
    for size in ((11, 7), (4, 4), (3, 24, 0), (3, 24, 10**6), (3, 24), [3, 24, 16], (3, 24.0, 16), "24"):
        save_sealed({**content, "shape": size}, tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=r"bad.pt is no image set, or damaged: it"):
            ImageSet.load(tmp_path / "bad.pt")


@pytest.mark.parametrize("kind", ["condensed", "herding", "random"])
def test_a_memory_of_large_images_holds_small_ones(large, kind):
    config = FAST.but(tiles=1, storage="uint8", resolution=12)
    memory = CondensedMemory(mem_bytes=24 + 12 * (3 * 96 + 24), config=config, kind=kind)
    assert memory.capacity(large.shape) == 12
    memory.update(large.subset([0, 1]))
    before = memory.groups[0, 0]
    memory.update(large)  # classes that come again, and a new one
    images, _ = memory.to_set()
    assert len(images) == 12 and memory.nbytes <= memory.mem_bytes and memory.shape == (3, 24, 16)
    assert images.codec == before.codec and images.codec.working_shape(images.shape) == (3, 12, 8)
    real = shrunk(large, (12, 8))
    nearest = torch.cdist(images.as_stored().images.flatten(1), real.take(torch.arange(30)).flatten(1)).amin(1)
    assert (nearest.max() < 0.5) == (kind != "condensed")
    memory.resize(mem_bytes=24 + 6 * (3 * 96 + 24))
    assert len(memory) == 6


@pytest.mark.parametrize("resolution", [0, 12])
def test_a_memory_begun_from_a_set_goes_on_at_its_resolution(large, resolution, tmp_path):
    config = FAST.but(tiles=1, resolution=resolution)
    condensed = condense(large.subset([0]), config.but(ipc=4))
    memory = CondensedMemory.from_set(condensed, 6, config=config.but(resolution=0))
    memory.save(tmp_path / "memory.pt")
    for begun in (memory, CondensedMemory.load(tmp_path / "memory.pt")):
        begun.update(large)
        images, _ = begun.to_set()
        assert images.codec.size == condensed.codec.size and images.images.shape == (6, 3, 24, 16)


def test_replayed_images_are_of_the_stream_and_current_ones_get_their_resolution(large):
    memory = CondensedMemory(6, config=FAST.but(tiles=1, resolution=6))
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
    found = condense(large, FAST.but(ipc=2, resolution=12), network=network)
    assert found.codec.working_shape(found.shape) == (3, 12, 8) and found.shape == large.shape


def test_exemplars_are_whole_unless_a_resolution_is_given(large):
    budgets = [Budget(2, PLAIN.but(resolution=side)) for side in (0, 12)]
    whole, small = (Random().reduce(large, budget, seed=1) for budget in budgets)
    assert whole.codec.size == (24, 16) and small.codec.size == (12, 8) and small.shape == whole.shape == large.shape
    expected = F.adaptive_avg_pool2d(whole.images, (12, 8))
    torch.testing.assert_close(small.values, expected, rtol=0, atol=0.05)


def test_what_is_no_resolution():
    with pytest.raises(ValueError, match="resolution must be a whole number of at least 0, got -1"):
        CondenseConfig.preset("paper", resolution=-1)
