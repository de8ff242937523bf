"""The memory's invariants over random streams: never above its size, no class lost, old images only cut."""

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pools import noise
from sets import stored_alike

from dm_replay import Webp
from dm_replay.matching.config import CondenseConfig
from dm_replay.replay.memory import CondensedMemory
from dm_replay.replay.waiting import Waiting

STREAMS = 400
CONFIG = CondenseConfig.preset("paper", network="convnet:width=4", compile="no", device="cpu")
EACH = 16 + 8  # bytes of an image (1, 4, 4) with its range
FILE = Webp().fit((1, 16, 16)).nbytes((1, 16, 16))

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


@given_streams(kind=st.sampled_from(["random", "herding", "webp"]), ipc=st.sampled_from([None, None, 1, 3, 8]))
def test_over_random_streams_that_hide_their_boundaries(stream, size, kind, ipc):
    """What waits is within the size; each class has its first images whole, and never none of them."""
    if size[0] == "mem_size" and ipc is not None and ipc > size[1]:
        return
    side = 16 if kind == "webp" else 4
    each = FILE if kind == "webp" else EACH
    limit = {size[0]: size[1] if size[0] == "mem_size" else 8 + each * size[1]}
    memory, seen = CondensedMemory(ipc=ipc, kind=kind, config=CONFIG, **limit), Counter()
    for seed, experience in enumerate(stream):
        joined = {*seen, *((task, c) for task, classes in experience.items() for c in classes)}
        before, pools = (
            dict(memory.held),
            {task: noise(classes, seed, (1, side, side)) for task, classes in experience.items()},
        )
        if len(joined) * (ipc or 1) > size[1]:
            with pytest.raises(ValueError, match="cannot hold"):
                memory.add(pools)
            assert memory.held == before
            continue
        memory.add(pools)
        seen.update({(task, c): many for task, classes in experience.items() for c, many in classes.items()})
        assert memory.groups.keys() == seen.keys() and memory.counts == seen
        assert len(memory) <= size[1] and memory.nbytes <= 8 + each * size[1]
        for group, part in memory.held.items():
            waiting = memory.waiting.get(group, Waiting())
            assert 1 <= len(part) <= seen[group] and waiting.stored <= len(part)
            assert waiting.images == waiting.stored <= waiting.counts <= seen[group]
            fair = min(size[1] // len(seen), size[1] * seen[group] // seen.total()) if ipc is None else ipc
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


@given_streams(examples=100)
def test_over_random_streams_of_pictures_of_many_sizes(stream, size):
    """Codes are as long as they come out; what counts is the most that they may take."""
    name, images = size
    spent, most = 8, FILE
    memory = CondensedMemory(
        kind="webp", config=CONFIG, **{name: images if name == "mem_size" else spent + most * images}
    )
    seen = Counter()
    for seed, experience in enumerate(stream):
        joined = {*seen, *((task, c) for task, classes in experience.items() for c in classes)}
        if len(joined) > images:
            continue
        before = dict(memory.held)
        memory.update({task: noise(classes, seed, (1, 16, 16)) for task, classes in experience.items()})
        seen.update({(task, c): many for task, classes in experience.items() for c, many in classes.items()})
        assert memory.counts == seen and len(memory) <= images and memory.nbytes <= spent + most * images
        assert all(len(part) >= 1 for part in memory.groups.values())
        for (task, c), part in memory.held.items():
            if c not in experience.get(task, {}):
                assert stored_alike(part, before[task, c].prefix(len(part)))
