"""Laws of the fixed-size memory."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from pools import noise as pool
from sets import stored_alike

from dm_replay import Condense
from dm_replay.matching.condense import Condenser
from dm_replay.matching.config import CondenseConfig
from dm_replay.replay.memory import CondensedMemory

QUICK = CondenseConfig.preset(
    "paper", iterations=2, batch_real=4, network="convnet:width=4", prefix_weight=0.05, compile="no"
)
STILL = replace(QUICK, iterations=1, lr_img=1e-9)  # the images stay what they start from


def lengths(memory):
    return {group: len(part) for group, part in memory.groups.items()}


def images_equal(one, other):
    assert one.groups.keys() == other.groups.keys()
    return all(torch.equal(one.groups[g].images, other.groups[g].images) for g in one.groups)


def test_a_storage_that_is_asked_for_is_kept():
    memory = CondensedMemory(4, config=STILL.but(storage="float32"))
    memory.update(pool({0: 9, 1: 9}))
    memory.update(pool({0: 9}, seed=1))
    assert memory.nbytes == 4 * 64 * 4 + memory.standardization.nbytes


@pytest.mark.parametrize(("nested", "seconds", "jobs"), [(0.05, 0.05, 1), (0.0, 0.05, 2), (0.05, None, 2)])
def test_shares_that_differ_by_one_share_their_seconds_where_prefixes_count(nested, seconds, jobs):
    totals = set()
    memory = CondensedMemory(7, config=replace(QUICK, prefix_weight=nested, seconds=seconds))
    memory.update(pool({0: 9, 1: 9}), on_step=lambda done, total, progress: totals.add(total))
    assert totals == {jobs * QUICK.iterations} and sorted(lengths(memory).values()) == [3, 4]
    memory.update(pool({0: 1, 2: 9}, seed=1))
    assert sorted(lengths(memory).values()) == [2, 2, 3] and memory.counts == {(0, 0): 10, (0, 1): 9, (0, 2): 9}


def test_a_class_without_enough_images_is_not_made_as_large_as_others():
    totals = set()
    memory = CondensedMemory(7, config=replace(QUICK, seconds=0.05))
    memory.update(pool({0: 3, 1: 4}), on_step=lambda done, total, progress: totals.add(total))
    assert totals == {2 * QUICK.iterations} and lengths(memory) == {(0, 0): 3, (0, 1): 4}


@pytest.mark.parametrize("seed", range(6))
def test_never_above_its_size_over_random_streams(seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    ipc = draw(1, 4) if seed % 3 == 0 else None
    memory = CondensedMemory(draw(8, 30) * (ipc or 1), ipc, QUICK, seed)
    seen = {}
    for step in range(5):
        tasks = {draw(0, 2): {draw(0, 4): draw(1, 12) for _ in range(draw(1, 4))} for _ in range(draw(1, 3))}
        before = dict(memory.held)
        memory.update({task: pool(counts, seed=step) for task, counts in tasks.items()})
        for task, counts in tasks.items():
            for c, count in counts.items():
                seen[task, c] = seen.get((task, c), 0) + count
        assert len(memory) == sum(lengths(memory).values()) <= memory.mem_size
        assert memory.counts == seen
        shares = memory.shares([])
        for group, part in memory.held.items():
            came = tasks.get(group[0], {}).get(group[1], 0)
            most = len(before.get(group, ())) + came
            assert min(shares[group], most) <= len(part) <= min(most, ipc or most)
            assert part.storage == "uint8" and part.classes.tolist() == [group[1]]
            task, c = group
            if c not in tasks.get(task, {}):  # untouched groups are only ever cut
                assert stored_alike(part, before[group].prefix(len(part)))


def test_the_whole_memory_is_dealt_round():
    memory = CondensedMemory(11, config=QUICK)
    memory.update(pool({0: 9, 1: 9, 2: 9}))
    assert list(lengths(memory).values()) == [4, 4, 3]
    memory.update(pool({3: 9, 4: 9}))
    assert list(lengths(memory).values()) == [3, 2, 2, 2, 2]


@pytest.mark.parametrize("size", range(1, 40))
def test_a_share_never_grows_when_groups_join(size):
    memory = CondensedMemory(size)
    for groups in range(1, size):
        fewer, more = memory.lengths(groups), memory.lengths(groups + 1)
        assert sum(fewer) == sum(more) == size
        assert max(fewer) - min(fewer) <= 1
        assert all(a >= b for a, b in zip(fewer, more, strict=False))


@pytest.mark.parametrize(("seconds", "cut"), [(None, [0, 0, 0]), (0.05, [0, 0, 1])])
def test_what_comes_in_is_condensed_at_its_share_or_in_seconds_one_image_above(seconds, cut):
    memory = CondensedMemory(11, config=replace(QUICK, seconds=seconds))
    memory.update(pool({0: 9, 1: 9, 2: 9}))
    assert sorted(part.meta["config"]["ipc"] - len(part) for part in memory.groups.values()) == cut


def test_fixed_ipc_keeps_every_image():
    memory = CondensedMemory(9, ipc=2, config=QUICK)
    memory.update(pool({0: 9, 1: 9}))
    first = memory.held[0, 0]
    memory.update(pool({2: 9, 3: 9}))
    assert set(lengths(memory).values()) == {2}
    assert stored_alike(memory.held[0, 0], first)


@pytest.mark.parametrize("size,ipc,match", [(3, None, "at least 4"), (5, 2, "must be at least 8")])
def test_too_many_classes_is_an_error_before_anything_is_condensed(size, ipc, match):
    memory = CondensedMemory(size, ipc, QUICK)
    memory.update(pool({0: 9, 1: 9}))
    before = dict(memory.held)
    with pytest.raises(ValueError, match=match):
        memory.update(pool({2: 9, 3: 9}), on_step=lambda *_: pytest.fail("condensed"))
    assert memory.held == before


def test_a_class_never_gets_more_images_than_it_has_and_what_it_leaves_goes_to_others():
    memory = CondensedMemory(20, config=QUICK)
    memory.update(pool({0: 3, 1: 12}))
    assert lengths(memory) == {(0, 0): 3, (0, 1): 12}
    assert len(memory) == 15 < memory.mem_size, "there are no more"
    memory.update(pool({2: 50}))
    assert lengths(memory) == {(0, 0): 3, (0, 1): 9, (0, 2): 8}


def test_returning_classes_are_condensed_with_what_the_memory_holds(monkeypatch):
    asked = []

    def recording(self, pool, config, **arguments):
        asked.append(arguments["previous"])
        return real(self, pool, config, **arguments)

    real = Condenser.condense
    monkeypatch.setattr(Condenser, "condense", recording)
    memory = CondensedMemory(6, config=QUICK)
    memory.update({0: pool({0: 9, 1: 12}), 1: pool({0: 7})})
    held = memory.groups[0, 1]
    memory.update({0: pool({1: 5}, seed=1)})
    assert asked[:2] == [None, None]
    assert asked[2].classes.tolist() == [1] and asked[2].counts.tolist() == [12]
    torch.testing.assert_close(asked[2].images, memory.standardization.apply(held.images), rtol=1e-5, atol=1e-5)
    assert memory.counts == {(0, 0): 9, (0, 1): 17, (1, 0): 7}


def test_a_returning_class_with_few_new_images_keeps_the_old_ones_beside_them():
    memory = CondensedMemory(6, config=STILL)
    memory.update(pool({0: 9}))
    old, new = memory.groups[0, 0].images, pool({0: 4}, seed=1)
    memory.update(new)
    start = memory.groups[0, 0].images
    kept, added = ((start[:, None] - given).flatten(2).abs().amax(2) < 0.02 for given in (old, new.images))
    assert len(start) == 6 and int(added.sum()) in (1, 2), "of 4 new images among 13, in 6"
    assert (kept.sum(1) + added.sum(1) == 1).all()
    assert kept.nonzero()[:, 1].tolist() == list(range(6 - int(added.sum()))), "the best ones, in their order"


def test_tasks_with_the_same_class_ids_stay_apart():
    memory = CondensedMemory(8, config=STILL)
    first, second = pool({0: 4, 1: 4}), pool({0: 4, 1: 4}, seed=1)
    memory.update({0: first})
    kept = memory.groups[0, 0].images
    memory.update({7: second})
    assert list(memory.groups) == [(0, 0), (0, 1), (7, 0), (7, 1)]
    assert torch.equal(memory.groups[0, 0].images, kept[:2])
    images, tasks = memory.to_set()
    assert tasks.tolist() == [0] * 4 + [7] * 4
    assert images.labels.tolist() == [0, 0, 1, 1] * 2
    assert images.counts.tolist() == [8, 8]


def test_bytes_are_those_of_uint8_with_a_scale_and_an_offset_per_channel():
    memory = CondensedMemory(6, config=QUICK)
    assert memory.nbytes == 0
    memory.update(pool({0: 9, 1: 9}, shape=(3, 8, 8)))
    assert memory.nbytes == 6 * (3 * 8 * 8 + 3 * 8) + 3 * 8, "and of the standardization once"


def test_same_seed_same_images_and_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    memories = [CondensedMemory(4, config=QUICK, seed=seed) for seed in (3, 3, 4)]
    for memory in memories:
        memory.update(pool({0: 9, 1: 9}))
        memory.update(pool({0: 9, 2: 9}, seed=1))
    assert images_equal(memories[0], memories[1])
    assert not images_equal(memories[0], memories[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_pickled_memory_goes_on_as_if_nothing_had_happened():
    straight = CondensedMemory(5, config=QUICK)
    straight.update(pool({0: 9, 1: 9}))
    copy = pickle.loads(pickle.dumps(straight))
    for memory in (straight, copy):
        memory.update(pool({0: 9, 2: 9}, seed=1))
    assert images_equal(straight, copy)


def test_an_interrupted_update_leaves_the_memory_as_it_was():
    memory = CondensedMemory(8, config=QUICK)
    memory.update(pool({0: 9}))
    before = dict(memory.held)

    def interrupt(done, total, progress):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        memory.update({0: pool({1: 9}), 1: pool({1: 2})}, interrupt)
    assert memory.held == before and memory.updates == 1


@pytest.mark.parametrize("iterations", [3, 120])
def test_a_learning_rate_that_is_too_high_is_an_error_and_leaves_the_memory(iterations):
    memory = CondensedMemory(8, config=replace(QUICK, lr_img=1e30, iterations=iterations))
    done = []
    with pytest.raises(ValueError, match="the loss became .* within .* iterations: lower lr_img, now 1e.30"):
        memory.update(pool({0: 9}), lambda *step: done.append(step[0]))
    assert len(done) < min(iterations, 50), "noticed on the way"
    assert not memory.groups and memory.updates == 0 and memory.standardization is None
    memory.reducer = Condense(QUICK)
    memory.update(pool({0: 9}))
    fresh = CondensedMemory(8, config=QUICK)
    fresh.update(pool({0: 9}))
    assert images_equal(memory, fresh)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_on_whatever_the_caller_switched_off(mode):
    outside, inside = CondensedMemory(4, config=QUICK), CondensedMemory(4, config=QUICK)
    with mode():
        inside.update(pool({0: 9, 1: 9}))
        inside.update(pool({0: 9}, seed=1))
    outside.update(pool({0: 9, 1: 9}))
    outside.update(pool({0: 9}, seed=1))
    assert images_equal(outside, inside)


def test_numpy_integers_are_whole_numbers():
    memory = CondensedMemory(np.int64(6), ipc=np.int32(2), config=QUICK, seed=np.int64(3))
    assert (memory.mem_size, memory.ipc, memory.seed) == (6, 2, 3)
    assert all(type(value) is int for value in (memory.mem_size, memory.ipc, memory.seed))
    memory.resize(np.int64(8))
    assert type(memory.mem_size) is int


def test_on_step_counts_through_all_that_is_condensed():
    seen = []
    memory = CondensedMemory(9, config=QUICK)
    memory.update({0: pool({0: 9, 1: 9}), 4: pool({0: 1})}, lambda *step: seen.append(step[:2]))
    assert seen == [(done, 4) for done in (1, 2, 3, 4)]


def test_resize_cuts_now_and_grows_later():
    memory = CondensedMemory(8, config=QUICK)
    memory.update(pool({0: 9, 1: 9}))
    memory.resize(5)
    assert list(lengths(memory).values()) == [3, 2]
    memory.resize(9)
    assert list(lengths(memory).values()) == [3, 2]
    memory.update(pool({2: 9}))
    assert list(lengths(memory).values()) == [3, 2, 4]
    with pytest.raises(ValueError, match="cannot hold 3 classes"):
        memory.resize(2)


def test_errors_speak():
    with pytest.raises(ValueError, match="mem_size must be a whole number of at least 1, got 0"):
        CondensedMemory(0)
    with pytest.raises(ValueError, match="between 1 and mem_size 4, got 5"):
        CondensedMemory(4, ipc=5)
    with pytest.raises(ValueError, match="mem_size must be a whole number of at least 1, got 4.5"):
        CondensedMemory(4.5)
    with pytest.raises(ValueError, match="seed must be a whole number, got 'one'"):
        CondensedMemory(4, seed="one")
    memory = CondensedMemory(4, config=QUICK)
    memory.update(pool({0: 9}))
    with pytest.raises(ValueError, match="images of one shape"):
        memory.update(pool({1: 9}, shape=(3, 8, 8)))
    with pytest.raises(ValueError, match="images of one shape, got none"):
        CondensedMemory(4).update({})
