"""A memory of real images that are entropy-coded: each has bytes of its own, and bytes are what is shared."""

import copy
import pickle

import pytest
import torch
from pools import labels_of, noise, smooth, smooth_pixels
from sets import stored_alike
from torch.nn import functional as F

from dm_replay import Budget, CondenseConfig, CondensedBuffer, CondensedMemory, Dct, Herding, ImageSet, TensorPool
from dm_replay.plugins.buffer import memory_grid
from dm_replay.replay.contents import dealt
from dm_replay.replay.loader import ReplayLoader
from dm_replay.runtime.seeding import derive

SHAPE = (3, 16, 16)
CONFIG = CondenseConfig.preset("fast", network="convnet:width=4", compile="no", device="cpu")
CODEC = Dct().fit(SHAPE)
MOST, USUAL = CODEC.nbytes(SHAPE), CODEC.usual_nbytes(SHAPE)
SPENT = 24  # bytes of the standardization


def memory_of(images=None, **settings):
    """A herded one of so many images, or of bytes."""
    codec = {} if images is None else {"codec": Dct()}
    return CondensedMemory(images, config=CONFIG, kind="herding", **codec, **settings)


def test_a_larger_memory_has_finer_images_and_what_is_held_keeps_its_step(tmp_path):
    """Also when the memory grows, and when it was written and read in between."""
    raw = 3 * 16 * 16
    small, large = memory_of(mem_bytes=30 * raw), memory_of(mem_bytes=1000 * raw)
    for memory in (small, large):
        memory.update(TensorPool(*smooth({0: 20, 1: 20}, 0, SHAPE)))
    assert {part.codec.step for part in small.held.values()} == {1.6}
    assert {round(part.codec.step, 2) for part in large.held.values()} == {0.8}
    assert large.nbytes > 1.3 * small.nbytes and len(large) == len(small) == 40
    small.resize(mem_bytes=1000 * raw)
    small.save(tmp_path / "memory.pt")
    for memory in (small, CondensedMemory.load(tmp_path / "memory.pt")):
        memory.update(TensorPool(*smooth({2: 20}, 1, SHAPE)))
        assert {part.codec for part in memory.held.values()} == {CODEC} == {memory.codec}
    counted = memory_of(6)
    counted.update(TensorPool(*smooth({0: 20}, 0, SHAPE)))
    counted.resize(mem_bytes=1000 * raw)
    assert counted.codec == CODEC == counted.fitted(SHAPE)


def pictures(counts, dtype=torch.uint8, seed=0):
    """Smooth ones, as a codec expects them: as pixels, or normalized."""
    if dtype == torch.uint8:
        return TensorPool(*smooth_pixels(counts, seed, SHAPE), mean=[0.0] * 3, std=[1 / 255] * 3)
    images, labels = smooth(counts, seed, SHAPE)
    return TensorPool((images - 0.4) / 0.3, labels)


def unlike(counts, seed=0):
    """Even classes are shades, odd ones noise, of several times the bytes."""
    labels, generator = labels_of(counts), torch.Generator().manual_seed(seed)
    shades = F.interpolate(torch.rand(len(labels), 3, 2, 2, generator=generator), SHAPE[1:], mode="bilinear")
    rough = noise(counts, seed, SHAPE).images + 0.5
    return TensorPool(torch.where((labels % 2 == 1)[:, None, None, None], rough, shades), labels)


def codes(memory):
    return {group: part.stored.codes for group, part in memory.held.items()}


def spent(memory):
    """Bytes of each class."""
    return [part.nbytes for part in memory.held.values()]


@pytest.mark.parametrize("size", [{"images": 10}, {"mem_bytes": 6 * MOST + SPENT}], ids=["images", "bytes"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_come_back_in_the_values_of_the_stream(dtype, size):
    data, memory = pictures({0: 30, 4: 30}, dtype), memory_of(**size, seed=3)
    memory.update(data)
    spread = float(data.take(torch.arange(60)).std())
    for label in (0, 4):
        part, real = memory.groups[0, label], data.take((data.labels == label).nonzero()[:, 0])
        assert len(part) >= 5 and part.images.shape == (len(part), *SHAPE) and part.counts.tolist() == [30]
        nearest = (part.images[:, None] - real).square().flatten(2).mean(2).sqrt().min(1)
        assert nearest.indices.unique().numel() == len(part) and (nearest.values < 0.3 * spread).all()


@pytest.mark.parametrize("kind", ["random", "herding", "kmeans"])
def test_bytes_keep_real_images_by_dct_and_a_codec_of_ones_own_goes_first(kind):
    assert (
        CondensedMemory(mem_bytes=9_000, kind=kind).codec
        == Dct()
        == CondensedBuffer(mem_bytes=9_000, kind=kind).memory.codec
    )
    assert CondensedMemory(mem_bytes=9_000, kind=kind, codec=Dct(2.0)).codec == Dct(2.0)
    whole = CondenseConfig.preset("paper")
    assert CondensedMemory(mem_bytes=9_000, kind=kind, config=whole).codec == whole.codec != Dct()
    condensed = CondensedMemory(mem_bytes=9_000).codec
    assert condensed.fit((3, 224, 160)).working_shape((3, 224, 160)) == (3, 64, 46) and isinstance(condensed, Dct)
    assert not isinstance(CondensedMemory(9, kind=kind).codec, Dct)


def test_the_ones_that_herding_takes_and_cut_like_others():
    data, memory = pictures({0: 20, 1: 20}), memory_of(8)
    memory.update(data)
    before, pool = dict(memory.held), memory.standardization.apply_to_pool(data)
    herding, seed = Herding(CONFIG.network), derive(memory.seed, "memory", 0, 0, 4)
    assert stored_alike(ImageSet.merge(list(before.values())), herding.reduce(pool, Budget(4, Dct()), seed=seed))
    wanted = herding.reduce(pool, Budget(4), seed=seed)
    errors = (ImageSet.merge(list(before.values())).images[:, None] - wanted.images).square().flatten(2).mean(2)
    assert errors.argmin(1).tolist() == list(range(8))
    memory.update(pictures({2: 20}, seed=1))
    assert [len(part) for part in memory.groups.values()] == [3, 3, 2]
    assert all(memory.held[0, c].stored.codes == before[0, c].stored.codes[:3] for c in (0, 1))


@pytest.mark.parametrize("images", [4, 9, 33])
def test_bytes_are_never_more_than_allowed_and_nearly_all_used(images):
    memory = memory_of(mem_bytes=images * MOST + SPENT)
    for step in range(2):
        memory.update(unlike({2 * step: 200, 2 * step + 1: 200}, seed=step))
        costs = torch.cat([part.stored.costs for part in memory.held.values()])
        assert costs.max() <= MOST and memory.nbytes == costs.sum() + SPENT
        assert memory.mem_bytes - MOST < memory.nbytes <= memory.mem_bytes
    memory.resize(mem_bytes=4 * MOST + SPENT)
    assert 3 * MOST + SPENT < memory.nbytes <= memory.mem_bytes and len(memory.held) == 4


def test_classes_have_equal_bytes_and_not_equal_counts():
    memory = memory_of(mem_bytes=60 * MOST + SPENT)
    memory.update(unlike(dict.fromkeys(range(4), 200)))
    memory.resize(mem_bytes=14 * MOST + SPENT)  # so few that no class runs out of images
    shades, rough = [len(memory.held[0, c]) for c in (0, 2)], [len(memory.held[0, c]) for c in (1, 3)]
    assert min(shades) > 1.5 * max(rough) and max(spent(memory)) - min(spent(memory)) <= MOST


def test_what_a_class_leaves_goes_to_the_others():
    memory = memory_of(mem_bytes=30 * MOST + SPENT)
    memory.update(unlike({0: 3, 1: 200, 3: 200}))
    few, *others = spent(memory)
    assert len(memory.held[0, 0]) == 3 and few < 3 * MOST and abs(others[0] - others[1]) <= MOST
    assert memory.mem_bytes - MOST < memory.nbytes


def test_no_class_is_lost_beside_one_of_far_larger_images():
    memory = memory_of(mem_bytes=6 * MOST + SPENT)
    memory.update(unlike({1: 100}))
    for label in (0, 2, 4, 3, 5):
        memory.update(unlike({label: 100}, seed=label))
        assert all(len(part) >= 1 for part in memory.held.values()) and memory.nbytes <= memory.mem_bytes
    assert len(memory.held) == 6
    before = codes(memory)
    with pytest.raises(ValueError, match="cannot hold 7 classes"):
        memory.update(unlike({6: 100}))
    with pytest.raises(ValueError, match="cannot hold 6 classes"):
        memory.resize(mem_bytes=6 * MOST + SPENT - 1)
    assert codes(memory) == before


def test_cut_a_hundred_times_it_holds_what_it_would_hold_if_cut_once():
    memory = memory_of(mem_bytes=60 * MOST + SPENT)
    memory.update(unlike({0: 200, 1: 60, 2: 5, 3: 200, 4: 200}))
    once, sizes = copy.deepcopy(memory), torch.linspace(60 * MOST, 5 * MOST, 101)[1:].int().tolist()
    lengths = [len(memory)]
    for size in sizes:
        memory.resize(mem_bytes=size + SPENT)
        lengths.append(len(memory))
    once.resize(mem_bytes=sizes[-1] + SPENT)
    assert codes(memory) == codes(once) and lengths[0] > 3 * lengths[-1] and sorted(lengths, reverse=True) == lengths


def test_classes_that_join_cut_the_others_as_one_larger_update_does():
    """Those of the first update hold after eighteen others what a memory of fewer bytes holds of them."""
    memory = memory_of(mem_bytes=80 * MOST + SPENT)
    memory.update(unlike({0: 300, 1: 300}))
    first = copy.deepcopy(memory)
    for step in range(1, 10):
        memory.update(unlike({2 * step: 40, 2 * step + 1: 40}, seed=step))
    both = memory.held[0, 0].nbytes + memory.held[0, 1].nbytes
    first.resize(mem_bytes=both + SPENT)
    assert codes(first) == {group: codes(memory)[group] for group in first.held}


def test_dealt_things_of_any_costs():
    """Against the plain rule, and a smaller size keeps a part of what a larger one keeps."""
    draw = torch.Generator().manual_seed(0)
    for _ in range(40):
        owners = int(torch.randint(1, 6, (), generator=draw))
        costs = [
            torch.randint(1, 40, (int(torch.randint(0, 12, (), generator=draw)),), generator=draw)
            for _ in range(owners)
        ]
        things = [
            (n > 0, sum(own[: n + 1].tolist()), owner, int(own[n]))
            for owner, own in enumerate(costs)
            for n in range(len(own))
        ]
        last = [len(own) for own in costs]
        for size in range(sum(cost for *_, cost in things), -1, -7):
            left, kept = size, [0] * owners
            for *_, owner, cost in sorted(things):
                left -= cost
                kept[owner] += left >= 0
            assert dealt(size, costs) == kept and all(map(int.__le__, kept, last))
            assert dealt(size, [own[:many] for own, many in zip(costs, last, strict=True)]) == kept
            last = kept


def test_a_class_that_returns_has_old_images_beside_new_ones():
    memory = memory_of(8)
    memory.update(pictures({0: 30}))
    old = set(memory.held[0, 0].stored.codes)
    memory.update(pictures({0: 30}, seed=1))
    assert memory.counts == {(0, 0): 60} and len(old & set(memory.held[0, 0].stored.codes)) == 4


def test_a_class_that_returns_to_a_memory_of_bytes_has_them_too():
    memory = memory_of(mem_bytes=3 * MOST + SPENT)
    memory.update(pictures({0: 90}))
    old = memory.held[0, 0].stored.codes
    memory.update(pictures({0: 90}, seed=1))
    now = memory.held[0, 0].stored.codes
    shared = [code for code in now if code in old]
    assert memory.counts == {(0, 0): 180} and abs(2 * len(shared) - len(now)) <= 1
    assert shared == list(old[: len(shared)]), "the best of the old ones, in their order"


def test_what_memories_are_used_for():
    memory = memory_of(6)
    memory.update({0: pictures({0: 9}), 1: pictures({0: 9, 5: 9}, seed=1)})
    images, tasks = memory.to_set()
    assert tasks.tolist() == [0, 0, 1, 1, 1, 1] and images.labels.tolist() == [0, 0, 0, 0, 5, 5]
    loader = ReplayLoader([(torch.zeros(2, *SHAPE), torch.zeros(2).long())], images, tasks, 6)
    ((x, y),) = loader
    assert x.shape == (8, *SHAPE) and y[2:].bincount().tolist() == [4, 0, 0, 0, 0, 2]
    step = float(images.images.amax() - images.images.amin()) / 255
    distances = (x[2:, None] - images.images).abs().flatten(2).amax(2)
    assert distances.amin(1).max() <= step and distances.argmin(1).unique().numel() == 6
    assert memory_grid(memory, [0.0] * 3, [1 / 255] * 3).ndim == 3
    for copied in (copy.deepcopy(memory), pickle.loads(pickle.dumps(memory))):
        assert codes(copied) == codes(memory) and torch.equal(copied.to_set()[0].images, images.images)


def test_later_images_may_be_brighter_than_all_before():
    memory = memory_of(8)
    for label, shift in enumerate((0.0, 5.0, -3.0)):
        own = pictures({label: 20}, torch.float32, seed=label)
        memory.update(TensorPool(own.images + shift, own.labels))
        means = memory.groups[0, label].images.mean((1, 2, 3))
        nearest = (means[:, None] - (own.images + shift).mean((1, 2, 3))).abs().amin(1)
        assert nearest.max() < 0.1


def test_values_of_sixteen_bits():
    own, memory = pictures({0: 20}, torch.float32), memory_of(4)
    memory.update(TensorPool((own.images - own.images.min()) * 20_000 + 10_000, own.labels))
    images = memory.groups[0, 0].images
    assert images.isfinite().all() and 60_000 < images.max() < 100_000


def test_images_of_a_single_color_take_few_bytes():
    counts = dict.fromkeys(range(3), 40)
    colors = torch.rand(120, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, *SHAPE)
    memory = memory_of(mem_bytes=5 * MOST + SPENT)
    memory.update(TensorPool(colors.clone(), labels_of(counts)))
    assert len(memory) > 5 * MOST / USUAL and memory.nbytes <= memory.mem_bytes
    assert (memory.to_set()[0].images.flatten(2).std(2) < 0.02).all()


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_images_of_any_channels(channels):
    images = torch.randn(30, channels, 9, 14, generator=torch.Generator().manual_seed(0))
    memory = memory_of(mem_bytes=4_000)
    memory.update(TensorPool(images, torch.arange(30) % 3))
    assert memory.to_set()[0].images.shape[1:] == (channels, 9, 14) and 0 < memory.nbytes <= 4_000
