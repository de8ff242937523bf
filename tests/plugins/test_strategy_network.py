"""extractors="strategy": condensing with the network that the strategy has trained."""

import copy

import pytest
import torch
from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule
from streams import CLASSES, QUICK, labelled, plain, run, strategy
from torch import nn

from dm_replay import CondensedBuffer, DMReplayPlugin
from dm_replay.matching import condense as condensing

LEARNED = dict(QUICK, progress=False, extractors="strategy", class_weight=1.0)


@pytest.fixture
def borrowed(monkeypatch):
    """What was borrowed, each as it was then."""
    seen = []
    monkeypatch.setattr(
        condensing, "Borrowed", lambda *args: seen.append(condensing_borrowed(*args)) or copy.deepcopy(seen[-1])
    )
    return seen


condensing_borrowed = condensing.Borrowed


def test_the_network_is_the_strategys_after_the_experience_in_its_own_values(borrowed):
    plugin = DMReplayPlugin(12, **LEARNED)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, CLASSES))
    trained = strategy(plugin, model=model)
    trained.train(plain().train_stream[0])
    (used,) = borrowed
    space = plugin.storage_policy.memory.standardization
    images = torch.rand(5, 1, 8, 8)
    model.eval()
    torch.testing.assert_close(used.classifier(used.embed(space.apply(images))), model(images)[:, :2])


def test_growing_heads_and_heads_of_tasks(borrowed):
    class Tasks(MultiTaskModule):
        def __init__(self):
            super().__init__()
            self.heads = MultiHeadClassifier(64, 2)

        def forward(self, x, task_labels):
            return self.heads(x.flatten(1), task_labels)

    growing = nn.Sequential(nn.Flatten(), IncrementalClassifier(64))
    for model, stream in ((growing, plain()), (Tasks(), labelled(task_labels=True))):
        plugin = DMReplayPlugin(12, **LEARNED)
        trained = strategy(plugin, model=model)
        for experience in stream.train_stream:
            trained.train(experience)
        assert len(plugin.storage_policy.memory) == 12
    assert len(borrowed) == 6


def test_a_copy_of_the_buffer_leaves_the_network_behind():
    buffer = CondensedBuffer(12, **LEARNED)
    buffer.post_adapt(strategy(), plain().train_stream[0])
    assert buffer._model is not None and copy.deepcopy(buffer)._model is None


def test_numbers_are_still_numbers():
    run(plain(), DMReplayPlugin(12, **QUICK, progress=False, extractors=1, extractor_steps=1))
    with pytest.raises(ValueError, match="extractors must be a whole number"):
        DMReplayPlugin(12, extractors="others")
