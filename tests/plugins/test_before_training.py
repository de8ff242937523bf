"""What an experience cannot be condensed or replayed for is said in a line before a mini-batch of it is trained on."""

import random

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset, make_avalanche_dataset
from streams import CLASSES, QUICK, Blobs, Spy, strategy
from torch import nn
from torch.utils.data import Dataset
from torchvision.transforms import CenterCrop, Compose, RandomCrop, RandomHorizontalFlip, ToPILImage, ToTensor

from dm_replay.plugins.replay import DMReplayPlugin


def experiences(*datasets):
    return benchmark_from_datasets(train=list(datasets)).train_stream


def refused(match, *datasets, trained=0, model=None, **settings):
    """The last of these experiences is refused, in one line, when ``trained`` of them have been trained."""
    spy, learner = Spy(), strategy(DMReplayPlugin(12, **{**QUICK, **settings}), model=model)
    learner.plugins.insert(1, spy)
    stream = experiences(*datasets)
    for experience in stream[:trained]:
        learner.train(experience)
    with pytest.raises(ValueError, match=match) as caught:
        learner.train(stream[trained])
    assert len(str(caught.value).splitlines()) == 1
    assert len([batch for batches in spy.batches[trained:] for batch in batches]) == 0, "nothing was trained on"


class Relabelled(Dataset):
    """Blobs whose items are ``change(image, label)``; 120 of them, more than are read before training anyway."""

    def __init__(self, change, each=20):
        self.blobs, self.change = Blobs(each=each), change

    def __len__(self):
        return len(self.blobs)

    def __getitem__(self, row):
        return self.change(*self.blobs[row])


BOXES = {"boxes": torch.rand(2, 4), "labels": torch.tensor([1, 2])}
TARGETS = {
    "whole numbers, got dict": lambda y: BOXES,
    "whole numbers, got str": lambda y: f"class {y}",
    "whole numbers, got NoneType": lambda y: None,
    "one label for each image, got 2 values": lambda y: (y, 0),
    "one label for each image, got .2,.": lambda y: torch.tensor([y, 0]),
    "labels from 0, got -1: leave out images that have no class": lambda y: -1,
    "whole numbers, got torch.float": lambda y: float(y),
}


@pytest.mark.parametrize("match", TARGETS)
def test_targets_that_are_no_classes(match):
    data = make_avalanche_dataset(Relabelled(lambda x, y: (x, TARGETS[match](y))))
    refused(match, data)


def test_an_ignored_image_among_many():
    data = Blobs(each=20)
    data.targets[70] = -1
    refused("labels from 0, got -1", as_classification_dataset(data))


def test_boxes_with_the_collate_function_of_detection():
    data = Relabelled(lambda x, y: (x, BOXES))
    data.collate_fn = lambda items: tuple(zip(*items, strict=True))
    refused("expected each x to be an image as a tensor, got tuple", make_avalanche_dataset(data))


@pytest.mark.parametrize("kind", [str, lambda y: y - 3], ids=["strings", "negative"])
def test_targets_that_a_transform_makes_classes_are_taken(kind):
    class Named(Blobs):
        def __init__(self):
            super().__init__(each=20)
            self.targets = [kind(y) for y in self.targets]

    back = {kind(y): y for y in range(CLASSES)}
    groups = {"train": (None, back.get), "eval": (None, back.get)}
    replay = DMReplayPlugin(12, **QUICK)
    strategy(replay).train(experiences(as_classification_dataset(Named(), transform_groups=groups)))
    assert sorted(replay.storage_policy.memory.counts.values()) == [20] * CLASSES


def transformed(train, evaluated, data=None):
    return as_classification_dataset(data or Blobs(each=20), transform_groups={"train": train, "eval": evaluated})


def test_train_and_eval_transforms_of_different_sizes():
    match = r"\(1, 6, 6\) after the train transforms and \(1, 8, 8\) after the eval transforms"
    small = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    refused(match, transformed((CenterCrop(6), None), None), model=small)


def test_train_transforms_do_not_matter_where_they_are_not_used():
    learner = strategy(DMReplayPlugin(12, current_augment="crop1", **QUICK))
    for experience in experiences(*[transformed((CenterCrop(6), None), None)] * 2):
        learner.train(experience)


def test_random_crops_of_the_size_of_the_test_images_are_no_fault():
    train = Compose([ToPILImage(), RandomCrop(8, padding=2), RandomHorizontalFlip(), ToTensor()])
    learner = strategy(DMReplayPlugin(12, **QUICK))
    for experience in experiences(*[transformed((train, None), (Compose([ToPILImage(), ToTensor()]), None))] * 2):
        learner.train(experience)


def test_the_look_at_an_experience_disturbs_no_generator():
    def noisy(image):
        return image + random.random() + np.random.rand() + torch.rand(())

    states = []
    plugin = DMReplayPlugin(12, **QUICK)
    learner = strategy(plugin)
    (experience,) = experiences(transformed((noisy, None), (noisy, None)))
    plugin_look = plugin._look

    def look(*args):
        before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        plugin_look(*args)
        states.append(before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()))

    plugin._look = look
    learner.train(experience)
    assert states == [True]


class OfSizes(Blobs):
    """Images of several sizes, which train transforms make equal."""

    def __init__(self, each=20, odd=lambda index: index % 3 == 0):
        super().__init__(each=each)
        self.odd = odd

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (torch.nn.functional.pad(image, (0, 2, 0, 1)) if self.odd(index) else image), label


@pytest.mark.parametrize("current", [None, "none"])
@pytest.mark.parametrize("each, odd", [(20, lambda index: index % 3 == 0), (10, lambda index: index == 41)])
def test_images_of_several_sizes(current, each, odd):
    data = transformed((CenterCrop(8), None), None, OfSizes(each, odd))
    refused(r"expected images of one shape.*\(1, (8, 8|9, 10)\).*\(1, (8, 8|9, 10)\)", data, current_augment=current)


def test_a_signal_gets_the_names_of_networks_that_work():
    class Signals(Blobs):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return image.flatten().repeat(2).view(1, 1, 128), label

    def linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(128, CLASSES))

    data = as_classification_dataset(Signals())
    refused("choose pooling=none, or the network mlp", data, model=linear())
    for network in ("convnet:width=4,pooling=none", "mlp"):
        replay = DMReplayPlugin(12, **{**QUICK, "network": network})
        learner = strategy(replay, model=linear())
        for experience in experiences(data, data):
            learner.train(experience)
        assert replay.storage_policy.memory.shape == (1, 1, 128)


def test_a_signal_of_two_axes_is_told_the_third():
    flat = make_avalanche_dataset(Relabelled(lambda x, y: (x.view(1, 64), y)))
    refused(r"got \(1, 64\) for each x: gray images are \(1, H, W\), signals \(C, 1, L\)", flat)


def test_images_that_are_not_finite():
    data = Blobs(each=20)
    data.images[0, 0, 3, 3] = torch.nan
    refused("image 0 of the experience holds NaN", as_classification_dataset(data))


def test_channels_last_and_complex_images():
    last = make_avalanche_dataset(Relabelled(lambda x, y: (x.repeat(3, 1, 1).permute(1, 2, 0), y)))
    refused(r"expected images \(C, H, W\), got \(8, 8, 3\), which is \(H, W, C\)", last)
    refused("expected images of real numbers", make_avalanche_dataset(Relabelled(lambda x, y: (x + 1j, y))))


@pytest.mark.parametrize("current", [None, "crop1"])
def test_bool_images_are_replayed_as_bool(current):
    class Thresholded(nn.Sequential):
        def forward(self, x):
            assert x.dtype == torch.bool
            return super().forward(x.float())

    data = as_classification_dataset(Blobs(lambda x: x > 0.6))
    replay, spy = DMReplayPlugin(12, current_augment=current, **{**QUICK, "augment": "none", "lr_img": 1e-9}), Spy()
    learner = strategy(replay, spy, model=Thresholded(nn.Flatten(), nn.Linear(64, CLASSES)))
    for experience in experiences(data, data):
        learner.train(experience)
    real = (Blobs().images > 0.6).flatten(1).tolist()
    assert all(image.tolist() in real for image in spy.batches[1][0][0][8:].flatten(1)), "lr 0: real images"


SCALES = {"0..1": 1 / 2, "bytes as floats": 255 / 2, "normalized": 4.0}


@pytest.mark.parametrize("first, then", [("0..1", "bytes as floats"), ("bytes as floats", "0..1")])
@pytest.mark.parametrize("each", [10, 20])
def test_another_scale_than_that_of_the_first_experience(first, then, each):
    data = [
        as_classification_dataset(Blobs(lambda x, scale=SCALES[name]: x * scale, each=each)) for name in (first, then)
    ]
    refused("give all of a stream in one scale", *data, trained=1)


def test_bytes_after_floats():
    data = [Blobs(lambda x: x / 2), Blobs(lambda x: (x * 127).byte())]
    flat = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    refused("give all of a stream in one scale", *map(as_classification_dataset, data), trained=1, model=flat)


DOMAINS = {
    "darker": lambda x: x / 10,
    "flatter": lambda x: 0.5 + x / 1000,
    "black": lambda x: x * 0,
    "gray": lambda x: x * 0 + 0.4,
    "negative": lambda x: 1 - x,
    "normalized": lambda x: (x - 0.7) * 4,
}


@pytest.mark.parametrize("domain", DOMAINS)
def test_another_domain_is_no_other_scale(domain):
    data = [as_classification_dataset(Blobs(transform)) for transform in (lambda x: x, DOMAINS[domain])]
    for order in (data, data[::-1]):
        learner = strategy(DMReplayPlugin(12, **{**QUICK, "lr_img": 1e-9}))
        for experience in experiences(*order):
            learner.train(experience)


def test_night_in_bytes_is_no_other_scale():
    data = [as_classification_dataset(Blobs(lambda x, top=top: (x * top).byte())) for top in (127, 2)]

    class OfBytes(nn.Sequential):
        def forward(self, x):
            return super().forward(x.float() / 255)

    for order in (data, data[::-1]):
        learner = strategy(DMReplayPlugin(12, **QUICK), model=OfBytes(nn.Flatten(), nn.Linear(64, CLASSES)))
        for experience in experiences(*order):
            learner.train(experience)
