"""What Avalanche's own tests ask of replay buffers (its tests/training/test_replay.py), asked of ours."""

from unittest.mock import MagicMock

import pytest
from avalanche.models import SimpleMLP
from avalanche.training.plugins import ReplayPlugin
from streams import CLASSES, EACH, QUICK, labelled, strategy

from dm_replay.plugins.storage_policy import CondensedBuffer

KINDS = ["condensed", "random", "herding"]


def lengths(policy):
    return [len(data) for data in policy.buffer_datasets]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [7, 25, 50])
def test_the_memory_is_as_full_as_can_be_after_each_experience(kind, size):
    policy = CondensedBuffer(size, kind=kind, **QUICK)
    replay = ReplayPlugin(mem_size=size, storage_policy=policy)
    learner, seen = strategy(replay, model=SimpleMLP(input_size=64, hidden_size=10, num_classes=CLASSES)), 0
    for experience in labelled(task_labels=True).train_stream:
        learner.train(experience)
        seen += len(experience.dataset)
        assert sum(lengths(policy)) == len(policy.buffer) == min(size, seen)
        assert max(lengths(policy)) - min(lengths(policy)) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_epoch_of_training_is_needed(kind):
    policy = CondensedBuffer(20, kind=kind, **QUICK)
    learner = strategy(ReplayPlugin(mem_size=20, storage_policy=policy), train_epochs=0)
    for experience in labelled(task_labels=True).train_stream:
        learner.train(experience)
        assert sum(lengths(policy)) == policy.max_size


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_that_is_nothing_but_its_experience(kind):
    policy = CondensedBuffer(10, kind=kind, **QUICK)
    for number, experience in enumerate(labelled(task_labels=True).train_stream, 1):
        policy.update(MagicMock(experience=experience))
        assert [int(group) for group in policy.buffer_groups] == list(range(2 * number))
        assert all(group.max_size == len(group.buffer) for group in policy.buffer_groups.values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_fixed_number_for_each_class(kind):
    """The stock buffer's ``adaptive_size=False``."""
    policy = CondensedBuffer(CLASSES * 3, ipc=3, kind=kind, **QUICK)
    learner = strategy(ReplayPlugin(mem_size=CLASSES * 3, storage_policy=policy))
    for number, experience in enumerate(labelled().train_stream, 1):
        learner.train(experience)
        assert lengths(policy) == [3] * 2 * number


@pytest.mark.parametrize("kind", KINDS)
def test_resizing(kind):
    policy = CondensedBuffer(CLASSES * EACH, kind=kind, **QUICK)
    for experience in labelled().train_stream:
        policy.update(MagicMock(experience=experience))
    for size in (CLASSES * EACH, 31, 12, 6):
        policy.resize(None, size)
        assert sum(lengths(policy)) == policy.max_size == size
