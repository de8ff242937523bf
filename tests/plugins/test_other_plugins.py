"""Plugins that make mini-batches beside DMReplayPlugin: none throws away what another has made."""

import pytest
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import ReplayPlugin
from streams import QUICK, Spy, labelled, plain, strategy
from torch.utils.data import DataLoader, WeightedRandomSampler

from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.replay.loader import ReplayLoader

ANEW = {"batch_size": 4, "current_augment": "flip"}


class Weighted(SupervisedPlugin):
    """Makes mini-batches in which some images come more often."""

    def before_training_exp(self, strategy, **kwargs):
        data = strategy.adapted_dataset
        sampler = WeightedRandomSampler([1.0] * len(data), len(data))
        strategy.dataloader = DataLoader(data, strategy.train_mb_size, sampler=sampler, collate_fn=data.collate_fn)


class Doubled(SupervisedPlugin):
    """Adds something to the mini-batches that are there, as a plugin should."""

    def before_training_exp(self, strategy, **kwargs):
        strategy.dataloader = Twice(strategy.dataloader)


class Twice:
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return 2 * len(self.data)

    def __iter__(self):
        for batch in self.data:
            yield from (batch, batch)


def refused(match, *plugins, stream=plain, trained=0):
    spy, learner = Spy(), strategy(*plugins)
    learner.plugins.insert(len(plugins), spy)
    experiences = stream().train_stream
    for experience in experiences[:trained]:
        learner.train(experience)
    with pytest.raises(ValueError, match=match) as caught:
        learner.train(experiences[trained])
    assert len(str(caught.value).splitlines()) == 1
    assert not any(spy.batches[trained:]), "nothing was trained on"


@pytest.mark.parametrize("name", ANEW)
@pytest.mark.parametrize("stream", [plain, labelled])
@pytest.mark.parametrize("first", [lambda: ReplayPlugin(6), lambda: DMReplayPlugin(6, **QUICK)])
def test_replay_of_a_plugin_before_is_not_thrown_away(first, stream, name):
    first, second = first(), DMReplayPlugin(6, **{name: ANEW[name]}, **QUICK)
    refused(f"{name}= would throw away .*{type(first).__name__}.*: leave {name}= out", first, second, stream=stream)


@pytest.mark.parametrize("name", ANEW)
@pytest.mark.parametrize("stream", [plain, labelled])
@pytest.mark.parametrize("first", [Weighted, Doubled])
def test_mini_batches_of_any_plugin_before_are_not_thrown_away(first, stream, name):
    second = DMReplayPlugin(6, **{name: ANEW[name]}, **QUICK)
    refused(f"{name}= would throw away .*{first.__name__}", first(), second, stream=stream)


@pytest.mark.parametrize(
    "behind, trained, names", [(lambda: ReplayPlugin(6), 0, "ReplayPlugin"), (Weighted, 1, "Weighted")]
)
def test_a_plugin_behind_does_not_throw_replay_away_in_silence(behind, trained, names):
    refused(f"{names}.* threw its replay away|{names} behind", DMReplayPlugin(6, **QUICK), behind(), trained=trained)


@pytest.mark.parametrize("stream", [plain, labelled])
@pytest.mark.parametrize("options", [{}, {"batch_size": 4}, {"current_augment": "flip"}])
def test_plugins_that_wrap_what_is_there_go_together(options, stream):
    first, second = DMReplayPlugin(6, **options, **QUICK), DMReplayPlugin(6, seed=1, **QUICK)
    spy, learner = Spy(), strategy(first, second, Doubled(), SupervisedPlugin())
    learner.plugins.insert(4, spy)
    for experience in stream().train_stream:
        learner.train(experience)
    current = options.get("batch_size", 8)
    assert {len(y) for _, y, *_ in spy.batches[2]} == {current + 8 + 8}, "images of both memories"
    assert isinstance(spy.loaders[1].data, ReplayLoader)
