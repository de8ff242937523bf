"""DMReplayPlugin(mem_bytes=...)."""

import pytest
from streams import QUICK, plain, run, strategy

from dm_replay import CondensedBuffer, Dct, DMReplayPlugin


@pytest.mark.parametrize("settings", [{}, {"preset": "fast", "extractor_steps": 1}], ids=["paper", "fast"])
def test_a_memory_of_bytes_in_a_strategy(settings):
    plugin = DMReplayPlugin(mem_bytes=600, batch_size_mem=5, progress=False, **QUICK | settings)
    spy = run(plain(), plugin)
    memory = plugin.storage_policy.memory
    assert memory.nbytes <= 600 and len(memory.groups) == 6
    codec = memory.to_set()[0].codec
    assert isinstance(codec, Dct) if settings else codec.storage == "uint8"
    assert all(len(x) > 5 for x, *_ in spy.batches[2])


def test_too_few_bytes_for_the_classes_is_an_error_before_they_are_trained():
    plugin = DMReplayPlugin(mem_bytes=200, progress=False, **QUICK)
    learner = strategy(plugin)
    stream = plain().train_stream
    learner.train(stream[0])
    before = [parameter.clone() for parameter in learner.model.parameters()]
    with pytest.raises(ValueError, match="mem_bytes 200, of 2 images, cannot hold 4 classes"):
        learner.train(stream[1])
    assert all((old == new).all() for old, new in zip(before, learner.model.parameters(), strict=True))


def test_its_sizes():
    buffer = CondensedBuffer(mem_bytes=600, progress=False, **QUICK)
    assert DMReplayPlugin(mem_bytes=600, storage_policy=buffer).storage_policy is buffer and buffer.max_size == 600
    assert DMReplayPlugin(**QUICK).storage_policy.max_size == 200
    buffer.post_adapt(None, plain().train_stream[0])
    buffer.resize(None, 300)
    assert buffer.memory.nbytes <= 300 and buffer.max_size == 300
    with pytest.raises(ValueError, match="give mem_size or mem_bytes, got 5 and 600"):
        DMReplayPlugin(5, mem_bytes=600)
