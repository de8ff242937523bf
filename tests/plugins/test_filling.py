"""A memory that is filled with old data before anything is trained: as by an experience, checks and all."""

import pytest
import torch
from avalanche.training.plugins import ReplayPlugin
from hosts import HOSTS
from PIL import Image
from streams import CLASSES, QUICK, Blobs, Spy, labelled, of_tensors, plain, strategy
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dm_replay import CondensedBuffer, CondensedBufferWithLogits, DMReplayPlugin


def old(classes=(4, 5)):
    return Blobs(classes=classes)


def same(one, other):
    assert one.memory.counts == other.memory.counts and one.memory.updates == other.memory.updates
    assert torch.equal(one.memory.to_set()[0].images, other.memory.to_set()[0].images)


def test_the_first_experience_is_trained_beside_old_data():
    replay, spy = DMReplayPlugin(6, batch_size_mem=4, progress=False, **QUICK), Spy()
    replay.fill(old())
    strategy(replay, spy).train(plain().train_stream[0])
    first = spy.batches[0]
    assert first and all(set(y[-4:].tolist()) <= {4, 5} and not {4, 5} & set(y[:-4].tolist()) for _, y in first)
    assert set(replay.storage_policy.memory.counts) == {(0, c) for c in (0, 1, 4, 5)}


@pytest.mark.parametrize("stream", [plain, labelled, of_tensors, lambda: labelled(task_labels=True)])
def test_filling_is_what_an_experience_would_have_done(stream):
    filled, trained = (CondensedBuffer(6, progress=False, **QUICK) for _ in range(2))
    for experience in stream().train_stream[:2]:
        filled.fill(experience.dataset)
        trained.post_adapt(None, experience)
    same(filled, trained)
    assert [type(part) for part in filled.buffer[0]] == [type(part) for part in trained.buffer[0]]


def test_stock_plugins_replay_it_too():
    buffer, spy, stream = CondensedBuffer(6, progress=False, **QUICK), Spy(), labelled().train_stream
    buffer.fill(stream[2].dataset)
    strategy(ReplayPlugin(6, storage_policy=buffer), spy).train(stream[0])
    assert all({4, 5} & set(y.tolist()) for _, y, _ in spy.batches[0])


def test_any_dataset_does_and_may_be_given_a_task():
    images, labels = torch.stack([image for image, _ in old()]), torch.tensor(old().targets)
    buffer, plainly = (CondensedBuffer(6, progress=False, **QUICK) for _ in range(2))
    buffer.fill(TensorDataset(images, labels), task=3)
    plainly.fill(old())
    assert set(buffer.memory.groups) == {(3, 4), (3, 5)} and set(plainly.memory.groups) == {(0, 4), (0, 5)}
    with pytest.raises(ValueError, match="task labels of their own, got also task 1"):
        buffer.fill(labelled().train_stream[0].dataset, task=1)
    with pytest.raises(ValueError, match="task must be a whole number of at least 0, got 'one'"):
        buffer.fill(old(), task="one")


def nan():
    data = old()
    data.images[3, 0, 0, 0] = torch.nan
    return data


WRONG = {
    "image 3 of the experience, of class 4, holds NaN": nan,
    "at least one image, got an empty one": lambda: old(classes=()),
    "expected each x to be an image as a tensor": lambda: [("picture.png", 0)],
    "expected tensors after the eval transforms, got Image": lambda: [(Image.new("L", (8, 8)), 0)],
    "items .x, y. or .x, y, task label., got 1 parts": lambda: TensorDataset(torch.rand(4, 1, 8, 8)),
    "expected a dataset with a length, of items .x, y., got a DataLoader": lambda: DataLoader(old()),
    "expected images of one shape": lambda: TensorDataset(torch.rand(4, 1, 9, 9), torch.zeros(4).long()),
    "cannot hold 5 classes": lambda: old(classes=(1, 2, 3, 4)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_no_experience_could_be_is_refused_and_the_memory_is_as_it_was(message):
    buffer, fresh = (CondensedBuffer(4, progress=False, **QUICK) for _ in range(2))
    for each in (buffer, fresh):
        each.fill(old(classes=(0,)))
    with pytest.raises(ValueError) as error:
        buffer.fill(WRONG[message]())
    assert error.match(message) and "\n" not in str(error.value)
    same(buffer, fresh)


def test_what_an_experience_brings_then_has_to_go_with_it():
    replay = DMReplayPlugin(6, progress=False, **QUICK)
    replay.fill(TensorDataset(torch.rand(12, 1, 9, 9), torch.arange(12) % 2))
    with pytest.raises(ValueError, match="expected images of one shape"):
        strategy(replay).train(plain().train_stream[0])


def test_a_strategys_network_has_to_be_given():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    buffer = CondensedBuffer(6, progress=False, extractors="strategy", **QUICK)
    with pytest.raises(ValueError, match="give fill the model, too"):
        buffer.fill(old())
    buffer.fill(old(), model=model)
    other = CondensedBuffer(6, progress=False, **QUICK)
    other.fill(old())
    assert not torch.equal(buffer.memory.to_set()[0].images, other.memory.to_set()[0].images)


def test_logits_are_those_of_the_model_given():
    buffer = CondensedBufferWithLogits(8, progress=False, **QUICK)
    with pytest.raises(ValueError, match="give fill the model, too"):
        buffer.fill(old())
    learner = HOSTS["DER, DER++"].learner(buffer)
    buffer.fill(old(), model=learner.model)
    for image, _, _, logits in buffer.buffer:
        torch.testing.assert_close(logits, learner.model(image[None])[0].detach())
    learner.train(labelled().train_stream[0])
