"""Streams in any scale: condensed alike, and replayed in the values they came in."""

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin
from streams import CLASSES, QUICK, Blobs, Spy, plain, run, strategy
from torch import nn

from dm_replay.plugins.buffer import memory_grid
from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer

STILL = {**QUICK, "lr_img": 1e-9, "augment": "none"}
FORMS = {"0..255": lambda x: x * 100, "bytes": lambda x: (x * 100).round().to(torch.uint8), "standardized": lambda x: x}


class Scaling(nn.Sequential):
    """A model that takes bytes as well as floats, as one with its own normalization does."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, CLASSES))

    def forward(self, x):
        return super().forward(x.float() / 100)


def nearest(images, transform):
    """How far each image is from the nearest of the stream's own."""
    real = transform(Blobs().images).float().flatten(1)
    return torch.cdist(images.float().flatten(1), real, p=torch.inf).amin(1)


@pytest.mark.parametrize("form", FORMS)
def test_replayed_images_have_the_values_and_the_type_of_the_current_ones(form):
    replay, spy = DMReplayPlugin(8, **STILL), Spy()
    learner = strategy(replay, spy, model=Scaling())
    for experience in plain(FORMS[form]).train_stream:
        learner.train(experience)
    unit = float(FORMS[form](torch.ones(1)))
    for x, _ in spy.batches[2]:
        assert x.dtype == (torch.uint8 if form == "bytes" else torch.float32)
        assert nearest(x[8:], FORMS[form]).max() <= 0.011 * unit, "lr 0: real images, quantized"
    for dataset in (replay.storage_policy.buffer, *replay.storage_policy.buffer_datasets):
        images = torch.stack([item[0] for item in dataset])
        assert images.dtype == spy.batches[2][0][0].dtype
        assert nearest(images, FORMS[form]).max() <= 0.011 * unit


@pytest.mark.parametrize("augment", ["cutout", "color"])
def test_the_same_is_replayed_of_the_same_images_in_another_scale(augment):
    seen = {}
    for scale in (1, 255):
        spy = run(plain(lambda x, scale=scale: x * scale), DMReplayPlugin(6, **{**QUICK, "augment": augment}))
        seen[scale] = torch.cat([x[8:] for experience in spy.batches[1:] for x, _ in experience])
    assert (seen[255] / 255 - seen[1]).abs().max() < 0.02, "a step of quantization is 0.006"


def test_the_picture_shows_the_users_values():
    buffers = [CondensedBuffer(6, **STILL) for _ in range(2)]
    for buffer, scale in zip(buffers, (1, 255), strict=True):
        buffer.post_adapt(None, plain(lambda x, scale=scale: x * scale).train_stream[0])
    small, large = (memory_grid(buffer.memory, [0.0], [1 / s]) for buffer, s in zip(buffers, (1, 255), strict=True))
    assert (small - large).abs().max() < 0.01


def test_the_stock_plugin_mixes_bytes_with_bytes():
    spy = Spy()
    stock = ReplayPlugin(6, storage_policy=CondensedBuffer(6, **QUICK))
    learner = strategy(stock, spy, model=Scaling())
    for experience in plain(FORMS["bytes"]).train_stream[:2]:
        learner.train(experience)
    assert {x.dtype for x, _ in spy.batches[1]} == {torch.uint8}
