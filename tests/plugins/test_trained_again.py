"""Trainings that fail after an experience was condensed, and plugins that are given to another strategy."""

import copy
import pickle

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.core import SupervisedPlugin
from streams import CLASSES, EACH, QUICK, Spy, labelled, plain, strategy

from dm_replay.plugins.logits import CondensedBufferWithLogits
from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer


class Failing(SupervisedPlugin):
    """Raises once, after an experience was trained and condensed."""

    def __init__(self, when):
        super().__init__()
        self.left = when

    def after_training_exp(self, strategy, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise RuntimeError("disk full")


def same(one, other):
    assert one.memory.counts == other.memory.counts and one.memory.updates == other.memory.updates
    assert torch.equal(one.memory.to_set()[0].images, other.memory.to_set()[0].images)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("when", [1, 2, 3])
def test_an_experience_that_fails_behind_the_plugin_counts_once(when, together):
    straight, stopped = (DMReplayPlugin(12, **QUICK) for _ in range(2))
    stream = plain().train_stream
    strategy(straight).train(stream)
    learner = strategy(stopped, Failing(when))
    if together:
        with pytest.raises(RuntimeError):
            learner.train(stream)
    else:
        for experience in stream[: when - 1]:
            learner.train(experience)
        with pytest.raises(RuntimeError):
            learner.train(stream[when - 1])
    for experience in stream[when - 1 :]:
        learner.train(experience)
    assert stopped.storage_policy.memory.counts == {(0, c): EACH for c in range(CLASSES)}
    same(stopped.storage_policy, straight.storage_policy)


@pytest.mark.parametrize("boundaries", [False, True])
@pytest.mark.parametrize("when", range(1, 16, 2))
def test_a_part_of_a_stream_that_fails_counts_once(when, boundaries):
    parts = list(split_online_stream(plain().train_stream, 5, access_task_boundaries=boundaries, seed=0))
    straight, stopped = (DMReplayPlugin(12, **QUICK) for _ in range(2))
    learners = strategy(straight), strategy(stopped, Failing(when))
    for number, part in enumerate(parts, 1):
        learners[0].train(part)
        if number == when:
            with pytest.raises(RuntimeError):
                learners[1].train(part)
        learners[1].train(part)
    for learner in (straight, stopped):
        learner.storage_policy.flush()
    same(stopped.storage_policy, straight.storage_policy)


def test_one_that_was_left_as_it_was_counts_and_one_that_comes_again_counts_again():
    plugin = DMReplayPlugin(12, **QUICK)
    stream = plain().train_stream
    learner = strategy(plugin, Failing(1))
    with pytest.raises(RuntimeError):
        learner.train(stream[0])
    learner.train(stream[1])
    assert set(plugin.storage_policy.memory.counts.values()) == {EACH}
    learner.train(stream[1])
    assert plugin.storage_policy.memory.counts[0, 2] == 2 * EACH


def test_old_data_given_and_sizes_changed_in_between_stay():
    plugin = DMReplayPlugin(12, **QUICK)
    stream = plain().train_stream
    learner = strategy(plugin, Failing(1))
    with pytest.raises(RuntimeError):
        learner.train(stream[0])
    plugin.fill(stream[2].dataset)
    plugin.storage_policy.resize(learner, 6)
    learner.train(stream[0])
    assert len(plugin.storage_policy.memory) == 6 and (0, 5) in plugin.storage_policy.memory.groups


def test_a_plugin_is_not_used_for_a_second_strategy():
    plugin, stream = DMReplayPlugin(12, **QUICK), plain().train_stream
    strategy(plugin).train(stream[0])  # which is gone when the next one comes, as in a loop over seeds
    spy = Spy()
    for again in (plugin, DMReplayPlugin(12, storage_policy=plugin.storage_policy)):
        with pytest.raises(ValueError, match="12 images of another strategy's stream: make a new plugin for each"):
            strategy(again, spy).train(stream[0])
    assert not any(spy.batches), "nothing was trained on"


def test_a_memory_goes_on_with_another_strategy_where_that_is_said():
    plugin, stream = DMReplayPlugin(12, **QUICK), plain().train_stream
    strategy(plugin).train(stream[0])
    further = DMReplayPlugin(memory=plugin.storage_policy.memory)
    spy = Spy()
    strategy(further, spy).train(stream[1])
    assert {len(y) for _, y in spy.batches[0]} == {16} and len(further.storage_policy.memory.groups) == 4


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda learner: pickle.loads(pickle.dumps(learner))])
def test_a_copy_of_plugin_and_strategy_goes_on(copied):
    plugin, stream = DMReplayPlugin(12, **QUICK), plain().train_stream
    learner = strategy(plugin)
    learner.train(stream[0])
    plugin_again = copied(plugin)
    for one, other in ((learner, plugin), (strategy(plugin_again), plugin_again)):
        one.train(stream[1])
        assert len(other.storage_policy.memory.groups) == 4


def test_an_empty_plugin_may_change_hands():
    plugin, stream = DMReplayPlugin(12, **QUICK), plain().train_stream
    failing = strategy(plugin)
    failing.model = None
    with pytest.raises(AttributeError):
        failing.train(stream[0])
    strategy(plugin).train(stream[0])


def test_logits_are_gone_back_with_their_images():
    buffer, stream = CondensedBufferWithLogits(12, **QUICK), labelled().train_stream
    learner = strategy(DMReplayPlugin(12, storage_policy=buffer), Failing(2))
    learner.train(stream[0])
    with pytest.raises(RuntimeError):
        learner.train(stream[1])
    learner.train(stream[1])
    assert isinstance(buffer, CondensedBuffer) and len(buffer.buffer) == 12 and buffer.memory.counts[0, 2] == EACH
    assert len(buffer.buffer[11]) == 4
