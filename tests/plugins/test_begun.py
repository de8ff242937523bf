"""A plugin whose memory was there before: loaded, or begun from a condensed set."""

import pytest
import torch
from avalanche.training.plugins import GDumbPlugin
from streams import QUICK, SETTINGS, Blobs, Spy, plain, strategy

from dm_replay import CondenseConfig, CondensedBuffer, CondensedBufferWithLogits, CondensedMemory, DMReplayPlugin
from dm_replay.data.pool import TensorPool
from dm_replay.matching.condense import condense

CONFIG = CondenseConfig.preset("paper", **SETTINGS, device="cpu")


def of_old_classes(classes=(4, 5)):
    data = Blobs(classes=classes)
    return TensorPool(data.images, data.targets)


def test_the_first_experience_is_replayed_beside_a_set():
    memory = CondensedMemory.from_set(condense(of_old_classes(), CONFIG), 6, config=CONFIG)
    images, spy = memory.to_set()[0].images, Spy()
    replay = DMReplayPlugin(memory=memory, batch_size_mem=6, augment_replay=False, progress=False)
    assert replay.storage_policy.max_size == 6 and len(replay.storage_policy.buffer) == 6
    strategy(replay, spy).train(plain().train_stream[0])
    assert spy.batches[0]
    for x, y in spy.batches[0]:
        assert sorted(y[-6:].tolist()) == [4, 4, 4, 5, 5, 5]
        assert all((image - images).abs().amax((1, 2, 3)).min() < 1e-4 for image in x[-6:])
    assert set(memory.counts) == {(0, c) for c in (0, 1, 4, 5)}


@pytest.mark.parametrize("size", [dict(mem_size=6), dict(mem_bytes=600)])
def test_a_plugin_goes_on_where_another_ones_memory_was_saved(tmp_path, size):
    stream = plain().train_stream
    first, straight = (DMReplayPlugin(**size, progress=False, **QUICK) for _ in range(2))
    for replay, experiences in ((first, stream[:1]), (straight, stream[:2])):
        strategy(replay).train(experiences)
    first.storage_policy.memory.save(tmp_path / "memory.pt")
    second = DMReplayPlugin(**size, memory=CondensedMemory.load(tmp_path / "memory.pt"), progress=False)
    strategy(second).train(stream[1])
    one, other = second.storage_policy.memory, straight.storage_policy.memory
    assert one.counts == other.counts and torch.equal(one.to_set()[0].images, other.to_set()[0].images)


def test_a_buffer_knows_it_from_the_beginning():
    buffer = CondensedBuffer(memory=CondensedMemory.from_set(condense(of_old_classes(), CONFIG), 6, config=CONFIG))
    assert len(buffer.buffer) == 6 and [len(group.buffer) for group in buffer.buffer_groups.values()] == [3, 3]
    gdumb = GDumbPlugin(6)
    gdumb.storage_policy = buffer
    strategy(gdumb).train(plain().train_stream[0])
    assert len(buffer.memory.groups) == 4


def test_it_brings_its_own_settings():
    memory = CondensedMemory(6)
    cases = {
        "own size and settings, got also mem_size": lambda: DMReplayPlugin(7, memory=memory),
        "got also mem_bytes": lambda: DMReplayPlugin(mem_bytes=600, memory=memory),
        "got also ipc, iterations, kind, seed": lambda: CondensedBuffer(
            memory=memory, ipc=1, kind="random", seed=3, iterations=2
        ),
        "got also config": lambda: CondensedBuffer(memory=memory, config=CONFIG),
        "must be a CondensedMemory, got a str": lambda: DMReplayPlugin(memory="memory.pt"),
        "storage_policy brings its own settings": lambda: DMReplayPlugin(
            6, storage_policy=CondensedBuffer(6), memory=memory
        ),
    }
    for message, case in cases.items():
        with pytest.raises(ValueError, match=message):
            case()
    assert DMReplayPlugin(6, memory=memory).storage_policy.memory is memory


def test_it_may_go_on_with_the_strategys_network(tmp_path):
    stream, ends = plain().train_stream, []
    for breaks in (False, True):
        replay = DMReplayPlugin(6, extractors="strategy", progress=False, **QUICK)
        learner = strategy(replay)
        learner.train(stream[0])
        if breaks:
            replay.storage_policy.memory.save(tmp_path / "memory.pt")
            memory = CondensedMemory.load(tmp_path / "memory.pt")
            learner.plugins[0].storage_policy = CondensedBuffer(memory=memory, extractors="strategy", progress=False)
        learner.train(stream[1])
        ends.append(learner.plugins[0].storage_policy.memory.to_set()[0].images)
    assert torch.equal(*ends)


def test_logits_cannot_be_had_of_images_that_were_there_before():
    memory = CondensedMemory(6, config=CONFIG)
    assert CondensedBufferWithLogits(memory=memory).memory is memory
    memory.update(of_old_classes())
    with pytest.raises(ValueError, match="have no logits"):
        CondensedBufferWithLogits(memory=memory)
