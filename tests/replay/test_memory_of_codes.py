"""Kind "webp": herded real images of half the size as small files."""

import copy
import pickle

import pytest
import torch
from pools import smooth, smooth_pixels
from sets import stored_alike

from dm_replay import Budget, CondenseConfig, CondensedBuffer, CondensedMemory, Herding, ImageSet, TensorPool, Webp
from dm_replay.condensed.webp import SPAN
from dm_replay.plugins.buffer import memory_grid
from dm_replay.replay.loader import ReplayLoader
from dm_replay.runtime.seeding import derive

SHAPE = (3, 32, 32)
CONFIG = CondenseConfig.preset("paper", network="convnet:width=4", compile="no", device="cpu")
EACH = Webp().fit(SHAPE).nbytes(SHAPE)


def pictures(counts, dtype=torch.uint8, seed=0):
    """Smooth ones, as a codec expects them: as pixels, as values of [0, 1], or normalized."""
    if dtype == torch.uint8:
        return TensorPool(*smooth_pixels(counts, seed, SHAPE), mean=[0.0] * 3, std=[1 / 255] * 3)
    images, labels = smooth(counts, seed, SHAPE)
    return TensorPool((images - 0.4) / 0.3, labels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_come_back_in_the_values_of_the_stream(dtype):
    data = pictures({0: 30, 4: 30}, dtype)
    memory = CondensedMemory(10, config=CONFIG, kind="webp", seed=3)
    memory.update(data)
    spread = float(data.take(torch.arange(60)).std())
    for label in (0, 4):
        part, real = memory.groups[0, label], data.take((data.labels == label).nonzero()[:, 0])
        assert len(part) == 5 and part.images.shape == (5, 3, 32, 32) and part.counts.tolist() == [30]
        nearest = (part.images[:, None] - real).square().flatten(2).mean(2).sqrt().min(1)
        assert nearest.indices.unique().numel() == 5 and (nearest.values < 0.4 * spread).all()


def test_the_ones_that_herding_takes_and_cut_like_others():
    data = pictures({0: 20, 1: 20})
    memory = CondensedMemory(8, config=CONFIG, kind="webp")
    memory.update(data)
    before, pool = dict(memory.held), memory.standardization.apply_to_pool(data)
    herding, seed = Herding(CONFIG.network), derive(memory.seed, "memory", 0, 0, 4)
    assert stored_alike(ImageSet.merge(list(before.values())), herding.reduce(pool, Budget(4, Webp()), seed=seed))
    wanted = herding.reduce(pool.shrunk(16, 16), Budget(4), seed=seed)
    errors = (ImageSet.merge(list(before.values())).values[:, None] - wanted.values).square().flatten(2).mean(2)
    assert errors.argmin(1).tolist() == list(range(8))
    memory.update(pictures({2: 20}, seed=1))
    assert [len(part) for part in memory.groups.values()] == [3, 3, 2]
    assert all(memory.held[0, c].stored.codes == before[0, c].stored.codes[:3] for c in (0, 1))


@pytest.mark.parametrize("images", [4, 9, 33])
def test_bytes_are_never_more_than_allowed(images):
    memory = CondensedMemory(mem_bytes=images * EACH + 24, config=CONFIG, kind="webp")
    memory.update(pictures({0: 30, 1: 30}))
    memory.update(pictures({2: 30, 3: 30}, seed=1))
    assert len(memory) == images and 0.5 < memory.nbytes / memory.mem_bytes <= 1
    assert max(len(code) for part in memory.held.values() for code in part.stored.codes) <= EACH - SPAN
    memory.resize(mem_bytes=4 * EACH + 24)
    assert len(memory) == 4 and memory.nbytes <= memory.mem_bytes


def test_a_class_that_returns_has_old_images_beside_new_ones():
    memory = CondensedMemory(8, config=CONFIG, kind="webp")
    memory.update(pictures({0: 30}))
    old = set(memory.held[0, 0].stored.codes)
    memory.update(pictures({0: 30}, seed=1))
    assert memory.counts == {(0, 0): 60} and len(old & set(memory.held[0, 0].stored.codes)) == 4


def test_what_memories_are_used_for():
    memory = CondensedMemory(6, config=CONFIG, kind="webp")
    memory.update({0: pictures({0: 9}), 1: pictures({0: 9, 5: 9}, seed=1)})
    images, tasks = memory.to_set()
    assert tasks.tolist() == [0, 0, 1, 1, 1, 1] and images.labels.tolist() == [0, 0, 0, 0, 5, 5]
    loader = ReplayLoader([(torch.zeros(2, 3, 32, 32), torch.zeros(2).long())], images, tasks, 6)
    ((x, y),) = loader
    assert x.shape == (8, 3, 32, 32) and y[2:].bincount().tolist() == [4, 0, 0, 0, 0, 2]
    assert memory_grid(memory, [0.0] * 3, [1 / 255] * 3).ndim == 3
    for copied in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
        assert torch.equal(copied.to_set()[0].images, images.images)


def test_other_images_stay_as_they_are():
    memory = CondensedMemory(2, config=CONFIG, kind="webp")
    memory.update(pictures({0: 9}))
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    ((x, _),) = ReplayLoader(
        [(images, torch.zeros(3).long())], memory.to_set()[0], torch.zeros(2).long(), 2, match_resolution=1.0
    )
    assert torch.equal(x[:3], images)


def test_later_images_may_be_brighter_than_all_before():
    memory = CondensedMemory(8, config=CONFIG, kind="webp")
    for label, shift in enumerate((0.0, 5.0, -3.0)):
        own = pictures({label: 20}, torch.float32, seed=label)
        memory.update(TensorPool(own.images + shift, own.labels))
        means = memory.groups[0, label].images.mean((1, 2, 3))
        nearest = (means[:, None] - (own.images + shift).mean((1, 2, 3))).abs().amin(1)
        assert nearest.max() < 0.1


def test_values_of_sixteen_bits():
    own = pictures({0: 20}, torch.float32)
    memory = CondensedMemory(4, config=CONFIG, kind="webp")
    memory.update(TensorPool((own.images - own.images.min()) * 20_000 + 10_000, own.labels))
    images = memory.groups[0, 0].images
    assert images.isfinite().all() and 60_000 < images.max() < 100_000


def test_what_cannot_be_coded():
    many = TensorPool(torch.rand(4, 5, 32, 32), torch.zeros(4))
    with pytest.raises(ValueError, match=r"\(5, 32, 32\) cannot be kept as WebP"):
        CondensedBuffer(4, kind="webp", config=CONFIG).memory.update(many)
    with pytest.raises(ValueError, match="unknown kind 'png'; choose from condensed, random, herding, kmeans, webp"):
        CondensedMemory(4, kind="png")
