"""What waits in a memory: what its pool says is kept, and it stays a fair draw when the memory shrinks."""

import pytest
import torch
from pools import noisy_pixels
from sets import of_values

from dm_replay import CondensedMemory, ImageSet, TensorPool, Tiles
from dm_replay.matching.condense import Condenser
from dm_replay.matching.config import CondenseConfig
from dm_replay.replay.waiting import Waiting, cut

QUICK = CondenseConfig.preset(
    "paper", iterations=1, batch_real=4, network="convnet:width=4", compile="no", device="cpu"
)


def pool(counts, seed=0):
    about = dict(mean=[0.5], std=[0.25], names=["a", "b"], flip_invariant=False)
    return TensorPool(*noisy_pixels(counts, seed, (1, 8, 8)), **about)


def test_what_waited_is_condensed_as_its_pool_says(monkeypatch):
    seen, condense = [], Condenser.condense
    monkeypatch.setattr(
        Condenser, "condense", lambda self, pool, *a, **b: seen.append(pool) or condense(self, pool, *a, **b)
    )
    memory = CondensedMemory(8, config=QUICK)
    for step in range(4):
        memory.add(pool({0: 3, 1: 3}, seed=step))
    assert memory.updates and all(not own.flip_invariant and own.names == ("a", "b") for own in seen)
    assert all(part.meta["mean"] == [0.5] and part.meta["std"] == [0.25] for part in memory.groups.values())


def test_a_task_that_is_condensed_when_another_comes_keeps_its_normalization():
    memory = CondensedMemory(16, config=QUICK)
    memory.add({0: pool({0: 5})})
    while not memory.updates:
        memory.add({1: pool({0: 3}, seed=memory.arrivals)})
    assert (0, 0) not in memory.waiting, "or task 0 was not condensed with task 1"
    assert all(part.meta["mean"] == [0.5] and part.meta["std"] == [0.25] for part in memory.groups.values())


@pytest.mark.parametrize("tiles", [1, 2])
def test_a_cut_keeps_first_and_last_alike(tiles):
    first = last = 0
    for counts in range(20, 120):
        values = torch.arange(20.0)[:, None, None, None].expand(-1, 1, 4, 4)
        part = of_values(values, torch.zeros(20), Tiles(tiles, "linear"))
        kept, waiting = cut(part, Waiting(20, 20 * tiles**2 - (tiles > 1), counts), 10)
        values = kept.values[:, 0, 0, 0].tolist()
        assert len(kept) == waiting.stored == 10 and values == sorted(values)
        assert waiting.images == 10 * tiles**2 - (tiles > 1 and 19.0 in values)
        first, last = first + (0.0 in values), last + (19.0 in values)
    assert 30 < first < 70 and 30 < last < 70  # of 100, each by half a chance: four deviations


def test_nothing_is_one_line_for_a_full_memory_too():
    memory = CondensedMemory(8, config=QUICK)
    memory.update(pool({0: 9}))
    for take in (memory.update, memory.add):
        with pytest.raises(ValueError, match="images of one shape, got none"):
            take({})


def test_a_set_that_a_memory_begins_with_has_the_places_that_small_classes_leave():
    images = ImageSet.from_images(torch.rand(11, 1, 8, 8), torch.tensor([0] * 10 + [1]))
    memory = CondensedMemory.from_set(images, 8, config=QUICK)
    assert {group: len(part) for group, part in memory.groups.items()} == {(0, 0): 7, (0, 1): 1}
