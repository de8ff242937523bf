"""Streams that come in small parts."""

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from streams import CLASSES, EACH, QUICK, Spy, plain, strategy

from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer


def online(**options):
    """Parts of 5, and of 4 at the end of each 24."""
    return split_online_stream(plain().train_stream, experience_size=5, shuffle=True, seed=0, **options)


def test_a_stream_is_condensed_at_its_boundaries():
    replay = DMReplayPlugin(6, **QUICK)
    spy, learner = Spy(), strategy(replay)
    learner.plugins.insert(1, spy)
    learner.train(online(access_task_boundaries=True))
    assert replay.storage_policy.memory.updates == 3
    assert replay.storage_policy.memory.counts == {(0, c): EACH for c in range(CLASSES)}
    sizes = [len(y) for part in spy.batches for _, y in part]
    assert sizes == [5] * 4 + [4] + 2 * ([5 + 8] * 4 + [4 + 8])


def test_a_stream_whose_parts_divide_it_exactly_is_condensed_too():
    """Avalanche then never says is_last_subexp."""
    replay = DMReplayPlugin(6, **QUICK)
    stream = split_online_stream(plain().train_stream, experience_size=6, access_task_boundaries=True, seed=0)
    assert not any(e.is_last_subexp for e in stream)
    strategy(replay).train(stream)
    assert replay.storage_policy.memory.updates == 3
    assert replay.storage_policy.memory.counts == {(0, c): EACH for c in range(CLASSES)}


@pytest.mark.parametrize("size", [10, 24, 500])
@pytest.mark.parametrize("kind", ["condensed", "herding"])
def test_a_stream_that_hides_its_boundaries_is_replayed_from_its_second_part_on(kind, size):
    replay = DMReplayPlugin(size, kind=kind, **QUICK)
    spy, learner = Spy(), strategy(replay)
    learner.plugins.insert(1, spy)
    learner.train(online())
    memory = replay.storage_policy.memory
    assert memory.counts == {(0, c): EACH for c in range(CLASSES)} and len(memory) == min(size, CLASSES * EACH)
    first, *others = [[len(y) for _, y in part] for part in spy.batches]
    assert max(first) <= 5 and all(min(sizes) >= 4 + 8 for sizes in others)


def test_what_waits_is_replayed_as_it_came_and_condensed_when_it_is_too_much():
    buffer = CondensedBuffer(24, **QUICK)
    for number, part in enumerate(online()):
        before, images = buffer.memory.updates, len(buffer.memory)
        buffer.post_adapt(None, part)
        assert buffer.memory.updates == before or images + len(part.dataset) > 24
        if number == 1:
            came = torch.stack([image for image, *_ in part.dataset])
            held = torch.stack([image for image, *_ in buffer.buffer])
            assert ((came[:, None] - held).flatten(2).abs().amax(2).amin(1) < 0.01).all()
    assert 0 < buffer.memory.updates < 72 / 24 + 3 and len(buffer.memory) == 24


def test_parts_trained_one_call_at_a_time_are_not_condensed_each():
    replay = DMReplayPlugin(6, **QUICK)
    learner = strategy(replay)
    for part in online(access_task_boundaries=True):
        learner.train(part)
    assert replay.storage_policy.memory.updates == 3


def test_each_experience_deals_the_memory_anew():
    spy, learner = Spy(), strategy(DMReplayPlugin(6, None, 3, **QUICK), batch=5)
    learner.plugins.insert(1, spy)
    learner.train(online(access_task_boundaries=True))
    first = {tuple(x[5:].flatten().tolist()) for (x, _), *_ in spy.batches[5:9]}
    assert len(first) > 1, "parts of a stream don't all meet the same few images"
