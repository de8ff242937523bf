"""Laws of a memory that is counted in bytes."""

from functools import partial

import pytest
import torch
from pools import noise

from dm_replay import Dct, Tiles
from dm_replay.matching.config import CondenseConfig
from dm_replay.replay.memory import CondensedMemory

SMALL = dict(iterations=1, batch_real=4, network="convnet:width=4", prefix_weight=0.05, compile="no", device="cpu")
PAPER = CondenseConfig.preset("paper", **SMALL)
FAST = CondenseConfig.preset("fast", extractors=0, **SMALL)
pool = partial(noise, shape=(3, 16, 16))


@pytest.mark.parametrize("config", [PAPER, FAST, FAST.but(tiles=2)], ids=["paper", "fast", "own"])
@pytest.mark.parametrize("seed", range(3))
def test_never_above_its_bytes_and_no_class_lost_over_random_streams(config, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    allowed = draw(12_000, 30_000)
    memory, seen, lengths = CondensedMemory(config=config, seed=seed, mem_bytes=allowed), set(), {}
    for step in range(4):
        tasks = {draw(0, 2): {draw(0, 4): draw(1, 200) for _ in range(draw(1, 3))} for _ in range(draw(1, 3))}
        memory.update({task: pool(counts, seed=step) for task, counts in tasks.items()})
        seen |= {(task, c) for task, counts in tasks.items() for c in counts}
        assert memory.nbytes <= allowed and memory.groups.keys() == seen
        before, lengths = lengths, {group: len(part) for group, part in memory.groups.items()}
        assert all(lengths[task, c] <= many for (task, c), many in before.items() if c not in tasks.get(task, {}))


@pytest.mark.parametrize(("config", "each"), [(PAPER, 3 * 256 + 24), (FAST, 3 * 256 + 24)])
def test_all_of_its_bytes_are_used(config, each):
    """Of a stored image (3, 16, 16), whole or a mosaic, in bytes with a range for each channel."""
    codec = config.codec if config is PAPER else Tiles(tiles=2)
    memory = CondensedMemory(config=config, mem_bytes=10 * each + 24 + each - 1, codec=codec)
    memory.update(pool({0: 60, 1: 60}))
    assert len(memory) == memory.capacity() == 10 and memory.nbytes == 10 * each + 24


def test_what_does_not_fit_is_said_before_anything_is_condensed():
    memory = CondensedMemory(config=PAPER, mem_bytes=2_000)
    with pytest.raises(ValueError, match="mem_bytes 2000, of 2 images, cannot hold 3 classes of at least 1 images"):
        memory.update(pool({0: 3, 1: 3, 2: 3}), on_step=lambda *_: pytest.fail("condensed"))
    with pytest.raises(ValueError, match="mem_bytes 100, of 0 images, cannot hold 1 classes"):
        CondensedMemory(config=PAPER, mem_bytes=100).update(pool({0: 3}))
    with pytest.raises(ValueError, match="depends on their shape, and none have come yet"):
        memory.capacity()
    for sizes in ((None, None), (4, 4)):
        with pytest.raises(ValueError, match="give mem_size or mem_bytes"):
            CondensedMemory(sizes[0], mem_bytes=sizes[1])


@pytest.mark.parametrize("codec", [PAPER.codec, Dct(), Dct(most=30)])
@pytest.mark.parametrize("ipc", [None, 2, 7])
def test_how_many_bytes_would_do_is_said(codec, ipc):
    sized = lambda size: CondensedMemory(mem_bytes=size, ipc=ipc, codec=codec).lengths(5, (3, 32, 32))  # noqa: E731
    with pytest.raises(ValueError, match="cannot hold 5 classes of .* images: it must be at least") as caught:
        sized(60)
    least = int(str(caught.value).split()[-1])
    assert min(sized(least)) >= (ipc or 1)
    with pytest.raises(ValueError, match=f"it must be at least {least}$"):
        sized(least - 1)


def test_resizing_in_bytes():
    memory = CondensedMemory(config=PAPER, mem_bytes=24 + 6 * 792)
    memory.update(pool({0: 9, 1: 9}))
    memory.resize(mem_bytes=24 + 3 * 792)
    assert [len(part) for part in memory.groups.values()] == [2, 1] and memory.nbytes == memory.mem_bytes
    memory.resize(2)
    assert memory.mem_bytes is None and len(memory) == 2


def test_a_memory_of_images_becomes_one_of_bytes():
    memory = CondensedMemory(4, config=FAST, kind="herding")
    memory.update(pool({0: 9, 1: 9}))
    memory.resize(mem_bytes=24 + 3 * 792 - 1)
    assert [len(part) for part in memory.groups.values()] == [1, 1] and memory.mem_size is None
    before = dict(memory.held)
    with pytest.raises(ValueError, match="cannot hold 2 classes"):
        memory.resize(mem_bytes=1000)
    assert memory.held == before
