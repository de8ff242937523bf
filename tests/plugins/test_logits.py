"""Logits stay beside their images, however the memory is filled and cut."""

import pytest
import torch
from avalanche.benchmarks import split_online_stream
from avalanche.training.supervised.der import DER
from streams import CLASSES, QUICK, labelled
from torch import nn

from dm_replay.plugins.logits import CondensedBufferWithLogits


@pytest.mark.parametrize("online", [False, True])
def test_each_item_has_the_logits_of_its_image(online):
    """The network stays as it is, so that they are the same at any time."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    strategy = DER(model=model, optimizer=torch.optim.SGD(model.parameters(), 0.0), mem_size=40, train_mb_size=8)
    buffer = strategy.storage_policy = CondensedBufferWithLogits(40, progress=False, **QUICK)
    stream, waited = labelled().train_stream, 0
    for experience in split_online_stream(stream, 7, access_task_boundaries=False) if online else stream:
        strategy.train(experience)
        waited += len(buffer.memory.waiting)
        assert_of_their_images(buffer, model)
    assert (waited > 0) == online
    for size in (30, 13, 6):
        buffer.resize(strategy, size)
        assert_of_their_images(buffer, model)


@torch.no_grad()
def assert_of_their_images(buffer, model):
    images, _, _, logits = map(torch.stack, zip(*(map(torch.as_tensor, item) for item in buffer.buffer), strict=True))
    assert len(images) == len(buffer.memory)
    torch.testing.assert_close(logits, model(images))
