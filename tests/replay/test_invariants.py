"""The memory's invariants over random streams: never above its size, no class lost, old images only cut."""

import copy
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pools import noise
from sets import stored_alike

from dm_replay import Dct, TensorPool
from dm_replay.matching.config import CondenseConfig
from dm_replay.replay.memory import CondensedMemory
from dm_replay.replay.waiting import Waiting

STREAMS = 300
CONFIG = CondenseConfig.preset("paper", network="convnet:width=4", compile="no", device="cpu")
EACH = 16 + 8  # bytes of an image (1, 4, 4) with its range
CODED = (1, 8, 8)
MOST = Dct().fit(CODED).nbytes(CODED)  # bytes of a code

counts = st.dictionaries(st.integers(0, 5), st.integers(1, 9), min_size=1, max_size=3)  # images by class
experiences = st.dictionaries(st.integers(0, 1), counts, min_size=1, max_size=2)  # those by task
streams = st.lists(experiences, min_size=1, max_size=6)
sizes = st.tuples(st.sampled_from(["mem_size", "mem_bytes"]), st.integers(1, 40))


def given_streams(examples=STREAMS, **more):
    def decorate(test):
        health = [HealthCheck.too_slow, HealthCheck.data_too_large]
        quiet = settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=health)
        return quiet(given(stream=streams, size=sizes, **more)(test))

    return decorate


def made(size, kind, ipc=None):
    name, images = size
    limit = {name: images if name == "mem_size" else 8 + EACH * images}
    return CondensedMemory(ipc=ipc, kind=kind, config=CONFIG, **limit)


def coded(size, kind="random", ipc=None):
    """A memory of codes of as many images, or of bytes that at least so many take."""
    name, images = size
    limit = {name: images if name == "mem_size" else 8 + MOST * images}
    return CondensedMemory(ipc=ipc, kind=kind, codec=Dct(), config=CONFIG, **limit)


def fits(memory, size, groups):
    """Whether codes of so many classes do."""
    most = size[1] if size[0] == "mem_size" else memory.capacity(CODED)
    return groups * (memory.ipc or 1) <= most and groups <= size[1]


def of_many_sizes(counts, seed):
    """Noise of a contrast that differs from class to class."""
    data = noise(counts, seed, CODED)
    return TensorPool(data.images * 4.0 ** -(data.labels % 3)[:, None, None, None], data.labels)


@given_streams(kind=st.sampled_from(["random", "herding"]), ipc=st.sampled_from([None, None, 1, 3]))
def test_over_random_streams(stream, size, kind, ipc):
    if size[0] == "mem_size" and ipc is not None and ipc > size[1]:
        return
    memory, seen = made(size, kind, ipc=ipc), Counter()
    for seed, experience in enumerate(stream):
        joined = {*seen, *((task, c) for task, classes in experience.items() for c in classes)}
        before, pools = (
            dict(memory.held),
            {task: noise(classes, seed, (1, 4, 4)) for task, classes in experience.items()},
        )
        if len(joined) * (ipc or 1) > size[1]:
            with pytest.raises(ValueError, match="cannot hold"):
                memory.update(pools)
            assert memory.held == before
            continue
        memory.update(pools)
        seen.update({(task, c): many for task, classes in experience.items() for c, many in classes.items()})
        assert memory.groups.keys() == seen.keys() and memory.counts == seen
        assert len(memory) <= size[1] and memory.nbytes <= 8 + EACH * size[1]
        shares = memory.shares([])
        for (task, c), part in memory.held.items():
            most = len(before.get((task, c), ())) + experience.get(task, {}).get(c, 0)
            assert min(shares[task, c], most) <= len(part) <= most and part.classes.tolist() == [c]
            if c not in experience.get(task, {}):
                assert stored_alike(part, before[task, c].prefix(len(part)))


@given_streams(kind=st.sampled_from(["random", "herding"]), ipc=st.sampled_from([None, None, 1, 3, 8]))
def test_over_random_streams_that_hide_their_boundaries(stream, size, kind, ipc):
    """What waits is within the size; each class has its first images whole, and never none of them."""
    if size[0] == "mem_size" and ipc is not None and ipc > size[1]:
        return
    memory, seen = made(size, kind, ipc=ipc), Counter()
    for seed, experience in enumerate(stream):
        joined = {*seen, *((task, c) for task, classes in experience.items() for c in classes)}
        pools = {task: noise(classes, seed, (1, 4, 4)) for task, classes in experience.items()}
        added(memory, pools, seen, experience, size[1], len(joined) * (ipc or 1) <= size[1])
        assert len(memory) <= size[1] and memory.nbytes <= 8 + EACH * size[1]


@given_streams(kind=st.sampled_from(["random", "herding"]), ipc=st.sampled_from([None, None, 1, 3, 8]), examples=60)
def test_over_random_streams_of_codes_that_hide_their_boundaries(stream, size, kind, ipc):
    """Likewise; as many images of a class as surely fit in its part of the bytes, or more."""
    if size[0] == "mem_size" and ipc is not None and ipc > size[1]:
        return
    memory, seen = coded(size, kind, ipc), Counter()
    for seed, experience in enumerate(stream):
        joined = {*seen, *((task, c) for task, classes in experience.items() for c in classes)}
        pools = {task: of_many_sizes(classes, seed) for task, classes in experience.items()}
        added(memory, pools, seen, experience, size[1], fits(memory, size, len(joined)))
        assert memory.nbytes <= 8 + MOST * size[1] and (size[0] == "mem_bytes" or len(memory) <= size[1])


def added(memory, pools, seen, experience, images, fit):
    """Add them, and see that each class has its fair part of so many images."""
    before, ipc = dict(memory.held), memory.ipc
    if not fit:
        with pytest.raises(ValueError, match="cannot hold"):
            memory.add(pools)
        assert memory.held == before
        return
    memory.add(pools)
    seen.update({(task, c): many for task, classes in experience.items() for c, many in classes.items()})
    assert memory.groups.keys() == seen.keys() and memory.counts == seen
    for group, part in memory.held.items():
        waiting = memory.waiting.get(group, Waiting())
        assert 1 <= len(part) <= seen[group] and waiting.stored <= len(part)
        assert waiting.images == waiting.stored <= waiting.counts <= seen[group]
        equal = images // len(seen)
        fair = min(equal, images * seen[group] // seen.total()) if ipc is None else min(ipc, equal)
        assert len(part) >= min(fair, len(before.get(group, ())) + experience.get(group[0], {}).get(group[1], 0))


@given_streams(cuts=st.lists(st.integers(1, 40), min_size=6, max_size=6))
def test_over_random_streams_that_are_resized(stream, size, cuts):
    memory, seen, images = made(size, "random"), set(), size[1]
    for seed, (experience, cut) in enumerate(zip(stream, cuts, strict=False)):
        joined = seen | {(task, c) for task, classes in experience.items() for c in classes}
        if len(joined) <= images:
            memory.update({task: noise(classes, seed, (1, 4, 4)) for task, classes in experience.items()})
            seen = joined
        new = cut if size[0] == "mem_size" else 8 + EACH * cut
        if cut >= len(seen):
            memory.resize(**{size[0]: new})
            images = cut
        else:
            with pytest.raises(ValueError, match="cannot hold"):
                memory.resize(**{size[0]: new})
        assert memory.groups.keys() == seen and len(memory) <= images
        assert memory.nbytes <= 8 + EACH * images


@given_streams(examples=60, kind=st.sampled_from(["random", "herding"]), ipc=st.sampled_from([None, None, 1, 3]))
def test_over_random_streams_of_codes(stream, size, kind, ipc):
    """Images have bytes of their own: of what takes few there are more than surely fit."""
    name, images = size
    if name == "mem_size" and ipc is not None and ipc > images:
        return
    memory, seen = coded(size, kind, ipc), Counter()
    for seed, experience in enumerate(stream):
        joined = {*seen, *((task, c) for task, classes in experience.items() for c in classes)}
        before, pools = dict(memory.held), {task: of_many_sizes(own, seed) for task, own in experience.items()}
        if not fits(memory, size, len(joined)):
            with pytest.raises(ValueError, match="cannot hold"):
                memory.update(pools)
            assert memory.held == before
            continue
        memory.update(pools)
        seen.update({(task, c): many for task, classes in experience.items() for c, many in classes.items()})
        assert memory.groups.keys() == seen.keys() and memory.counts == seen
        assert memory.nbytes <= 8 + MOST * images and (name == "mem_bytes" or len(memory) <= images)
        for (task, c), part in memory.held.items():
            came = experience.get(task, {}).get(c, 0)
            most = len(before.get((task, c), ())) + came
            assert min(ipc or images // len(seen), images // len(seen), most) <= len(part) <= min(most, ipc or most)
            assert part.classes.tolist() == [c] and part.stored.costs.max() <= MOST
            if not came:
                assert stored_alike(part, before[task, c].prefix(len(part)))


@given_streams(examples=60, cuts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_over_random_cuts_of_codes(stream, size, cuts):
    """What is left does not depend on how often it was cut on the way."""
    memory, seen = coded(size), set()
    for seed, experience in enumerate(stream):
        joined = seen | {(task, c) for task, classes in experience.items() for c in classes}
        if len(joined) <= size[1]:
            memory.update({task: of_many_sizes(own, seed) for task, own in experience.items()})
            seen = joined
    once = copy.deepcopy(memory)
    sizes = sorted((cut for cut in cuts if len(seen) <= cut <= size[1]), reverse=True)
    for cut in sizes:
        new = cut if size[0] == "mem_size" else 8 + MOST * cut
        memory.resize(**{size[0]: new})
        assert memory.groups.keys() == seen and memory.nbytes <= 8 + MOST * cut
        if cut == sizes[-1]:
            once.resize(**{size[0]: new})
    held = [{group: part.stored.codes for group, part in each.held.items()} for each in (memory, once)]
    assert held[0] == held[1]
