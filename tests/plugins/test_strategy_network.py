"""extractors="strategy": condensing with the network that the strategy has trained."""

import copy

import pytest
import torch
from avalanche.models import IncrementalClassifier, MultiHeadClassifier, MultiTaskModule, SimpleMLP
from streams import CLASSES, QUICK, labelled, plain, run, strategy
from torch import nn
from torchvision.models import resnet18

from dm_replay import CondenseConfig, CondensedBuffer, CondensedMemory, DMReplayPlugin, load_dataset
from dm_replay.matching import prepared
from dm_replay.matching.trained_networks import PretrainedExtractor

LEARNED = dict(QUICK, progress=False, extractors="strategy", class_weight=1.0)


@pytest.fixture
def borrowed(monkeypatch):
    """What was borrowed, each as it was then."""
    seen = []
    monkeypatch.setattr(
        prepared,
        "PretrainedExtractor",
        lambda *args: seen.append(PretrainedExtractor(*args)) or copy.deepcopy(seen[-1]),
    )
    return seen


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


def networks():
    """Ordinary ones for digits, none of which has gradients of the size that ours have."""
    flat, pooled = nn.Flatten, nn.AvgPool2d(2)
    yield "simple", SimpleMLP(num_classes=10, input_size=64, hidden_size=64)
    yield "mlp", nn.Sequential(flat(), nn.Linear(64, 99), nn.ReLU(), nn.Linear(99, 99), nn.ReLU(), nn.Linear(99, 10))
    yield "linear", nn.Sequential(flat(), nn.Linear(64, 10))
    yield (
        "batchnorm",
        nn.Sequential(nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), pooled, flat(), nn.Linear(144, 10)),
    )
    resnet = resnet18(num_classes=10)
    resnet.conv1 = nn.Conv2d(1, 64, 3, 1, 1, bias=False)
    yield "resnet18", resnet


@pytest.mark.parametrize("preset", ["fast", "paper"])
@pytest.mark.parametrize("name", ["simple", "mlp", "linear", "batchnorm", "resnet18"])
def test_any_network_leaves_images_like_the_real_ones(name, preset):
    """Trained for a moment, as a strategy's is; the default rate of each preset."""
    torch.manual_seed(0)
    model, digits = dict(networks())[name], load_dataset("digits").train.subset([3, 8])
    optimizer = torch.optim.SGD(model.parameters(), 0.02, momentum=0.9)
    for rows in torch.arange(len(digits)).roll(7)[:256].split(32):
        loss = nn.functional.cross_entropy(model(digits.take(rows)), digits.labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    many = 8 if name == "resnet18" else 60  # it takes as much time, and two iterations sufficed to leave every bound
    config = CondenseConfig.preset(
        preset, iterations=many, batch_real=8, augment="none", compile="no", prefix_weight=0.05
    )
    memory = CondensedMemory(6, config=config)
    memory.update(digits, networks=lambda task: model)
    real, made = digits.take(torch.arange(len(digits))), memory.to_set()[0].images
    width = real.max() - real.min()
    assert real.min() - width < made.min() and made.max() < real.max() + width


def test_a_copy_of_the_buffer_leaves_the_network_behind():
    buffer = CondensedBuffer(12, **LEARNED)
    buffer.post_adapt(strategy(), plain().train_stream[0])
    assert buffer._model is not None and copy.deepcopy(buffer)._model is None


def test_numbers_are_still_numbers():
    run(plain(), DMReplayPlugin(12, **QUICK, progress=False, extractors=1, extractor_steps=1))
    with pytest.raises(ValueError, match="extractors must be a whole number"):
        DMReplayPlugin(12, extractors="others")
