"""An experience that cannot be condensed costs no other one; Ctrl-C costs nothing."""

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, split_online_stream
from avalanche.benchmarks.utils import as_classification_dataset
from streams import CLASSES, EACH, QUICK, Blobs, Spy, plain, strategy

from dm_replay.matching.condense import Condenser
from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer


def with_nan(classes=(0, 1)):
    """An experience whose sixth image holds a NaN."""
    data = Blobs(classes=classes)
    data.images[5, 0, 3, 3] = torch.nan
    return benchmark_from_datasets(train=[as_classification_dataset(data)]).train_stream[0]


@pytest.fixture
def interrupt(monkeypatch):
    """Ctrl-C during the second iteration of the n-th condensation; off again with None."""
    real, when = Condenser.condense, [None]

    def condense(self, *args, on_step=None, **kwargs):
        when[0] = None if when[0] is None else when[0] - 1

        def step(progress):
            if on_step is not None:
                on_step(progress)
            if when[0] == 0 and progress.iteration == 2:
                raise KeyboardInterrupt

        return real(self, *args, on_step=step, **kwargs)

    monkeypatch.setattr(Condenser, "condense", condense)
    return lambda n: when.__setitem__(0, n)


def same(one, other):
    assert one.memory.counts == other.memory.counts and one.memory.updates == other.memory.updates
    assert torch.equal(one.memory.to_set()[0].images, other.memory.to_set()[0].images)


def test_a_nan_image_is_named_and_later_experiences_are_condensed():
    stream = plain().train_stream
    buffer, fresh = CondensedBuffer(6, **QUICK), CondensedBuffer(6, **QUICK)
    with pytest.raises(ValueError, match="image 5 of the experience, of class 0, holds NaN"):
        buffer.post_adapt(None, with_nan())
    for experience in stream:
        buffer.post_adapt(None, experience)
        fresh.post_adapt(None, experience)
    same(buffer, fresh)


def test_a_learning_rate_that_is_too_high_leaves_the_memory_and_nothing_aside():
    stream = plain().train_stream
    buffer, fresh = CondensedBuffer(6, **QUICK), CondensedBuffer(6, **QUICK)
    for each in (buffer, fresh):
        each.post_adapt(None, stream[0])
    good = buffer.memory.reducer
    buffer.memory.reducer = CondensedBuffer(6, **{**QUICK, "lr_img": 1e30}).memory.reducer
    for _ in range(2):
        with pytest.raises(ValueError, match="lower lr_img"):
            buffer.post_adapt(None, stream[1])
        same(buffer, fresh)
        buffer.flush()
    buffer.memory.reducer = good
    for each in (buffer, fresh):
        each.post_adapt(None, stream[2])
    same(buffer, fresh)


@pytest.mark.parametrize("when", [1, 2])
def test_an_interrupted_experience_can_be_trained_again(interrupt, when):
    """Equal numbers of real images do not hide a class that is counted twice: the counts are compared too."""
    stopped, straight = (DMReplayPlugin(6, **QUICK) for _ in range(2))
    learner, stream = strategy(stopped), plain().train_stream
    learner.train(stream[0])
    interrupt(1)
    with pytest.raises(KeyboardInterrupt):
        learner.train(stream[1])
    interrupt(when)  # and once more, while it is caught up with or in the one that follows
    with pytest.raises(KeyboardInterrupt):
        learner.train(stream[1])
        learner.train(stream[2])
    interrupt(None)
    for experience in stream[1:] if when == 1 else stream[2:]:
        learner.train(experience)
    other = strategy(straight)
    for experience in stream:
        other.train(experience)
    assert straight.storage_policy.memory.counts == {(0, c): EACH for c in range(CLASSES)}
    same(stopped.storage_policy, straight.storage_policy)


def test_an_interrupted_part_of_a_stream_can_be_given_again(interrupt):
    parts = list(split_online_stream(plain().train_stream, 5, access_task_boundaries=True, seed=0))
    stopped, straight = CondensedBuffer(6, **QUICK), CondensedBuffer(6, **QUICK)
    for number, part in enumerate(parts):
        straight.post_adapt(None, part)
        if number == 4:  # the last one of the first experience
            assert part.is_last_subexp
            interrupt(1)
            with pytest.raises(KeyboardInterrupt):
                stopped.post_adapt(None, part)
            interrupt(None)
        stopped.post_adapt(None, part)
    same(stopped, straight)


def test_a_stream_that_cannot_be_condensed_is_given_up_at_once():
    parts = list(split_online_stream(plain().train_stream, 5, access_task_boundaries=True, seed=0))
    buffer = CondensedBuffer(6, **{**QUICK, "lr_img": 1e30})
    for part in parts[:4]:
        buffer.post_adapt(None, part)
    with pytest.raises(ValueError, match="lower lr_img"):
        buffer.post_adapt(None, parts[4])
    buffer.prepare(parts[5])
    buffer.post_adapt(None, parts[5])
    assert not buffer.memory.groups


def one_by_one():
    """(part of one image, whether its class is among the first three) of a stream that hides its boundaries."""
    seen = set()
    for part in split_online_stream(plain().train_stream, 1, shuffle=True, seed=0, access_task_boundaries=False):
        label = int(part.dataset.targets[0])
        if len(seen) < 3:
            seen.add(label)
        yield part, label in seen


def test_hidden_boundaries_and_too_small_a_memory_raise_before_training_and_set_nothing_aside():
    replay = DMReplayPlugin(12, ipc=4, **QUICK)
    spy, learner = Spy(), strategy(replay)
    learner.plugins.insert(1, spy)
    buffer = replay.storage_policy
    for part, fits in one_by_one():
        if fits:
            learner.train(part)
        else:
            with pytest.raises(ValueError, match="mem_size 12 cannot hold 4 classes"):
                learner.train(part)
        assert sum(len(images.labels) for images in buffer._aside) < 12
    assert len(spy.batches) == 3 * EACH, "what was refused was not trained on"
    assert set(buffer.memory.counts.values()) == {EACH} and len(buffer.memory.counts) == 3


def test_other_plugins_set_nothing_aside_that_does_not_fit():
    buffer = CondensedBuffer(12, ipc=4, **QUICK)
    for part, fits in one_by_one():
        if fits:
            buffer.post_adapt(None, part)
        else:
            with pytest.raises(ValueError, match="cannot hold 4 classes"):
                buffer.post_adapt(None, part)
    assert set(buffer.memory.counts.values()) == {EACH} and not buffer._aside
