"""``current_augment=``: the mini-batches of the strategy's own loader, made of tensors."""

import pickle

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.distributed import DistributedHelper
from streams import EACH, QUICK, Blobs, labelled, of_tensors, plain, run, strategy
from torchvision.transforms import RandomHorizontalFlip

from dm_replay.plugins.replay import DMReplayPlugin

STREAMS = {
    "without task labels": plain,
    "task label 0": labelled,
    "a task each": lambda: labelled(task_labels=True),
    "tensors": of_tensors,
    "task in the item": lambda: of_tensors(task_in_item=True),
}


@pytest.mark.parametrize("batch_size", [None, 8, 12])
@pytest.mark.parametrize("stream", STREAMS)
def test_the_same_mini_batches(stream, batch_size):
    """Current images in the order of the strategy's own loader, and behind them the same memory images."""
    settings = dict(mem_size=8, seed=3, batch_size=batch_size, **QUICK)
    own = run(STREAMS[stream](), DMReplayPlugin(**settings), shuffle=False)
    ours = run(STREAMS[stream](), DMReplayPlugin(current_augment="none", **settings), shuffle=False)
    assert len(ours.batches) == len(own.batches) == 3
    for one, other in zip(ours.batches, own.batches, strict=True):
        assert len(one) == len(other) and len(one) in (2, 3)
        for mine, theirs in zip(one, other, strict=True):
            assert [part.dtype for part in mine] == [part.dtype for part in theirs]
            assert all(map(torch.equal, mine, theirs))


def test_every_epoch_has_every_image_once_in_a_new_order():
    spy = run(plain(), DMReplayPlugin(8, current_augment="none", **QUICK), num_workers=0)
    for number, batches in enumerate(spy.batches):
        labels = torch.cat([y[:8] for _, y in batches])
        assert labels.bincount(minlength=6)[2 * number : 2 * number + 2].tolist() == [EACH, EACH]
        assert not torch.equal(labels, labels.sort().values)


def test_the_images_are_read_once_and_as_they_are_tested_on():
    reads = []

    class Counted(Blobs):
        def __getitem__(self, index):
            reads.append(index)
            return super().__getitem__(index)

    transforms = (RandomHorizontalFlip(p=1.0), lambda image: image + 1)
    data = as_classification_dataset(Counted(), transform_groups={"train": transforms, "eval": (transforms[1], None)})
    stream = benchmark_from_datasets(train=[data])
    reads.clear()
    spy = run(stream, DMReplayPlugin(12, current_augment="flip", **QUICK), shuffle=False)
    counts = [reads.count(row) for row in range(len(data))]
    few = 0.6 * len(data)  # are looked at before all are read, once to train on and to condense
    assert min(counts) == 1 and sum(counts) < len(data) + few
    got, images = torch.cat([x for x, _ in spy.batches[0]]), Blobs().images + 1
    straight, mirrored = ((got == image).flatten(1).all(1) for image in (images, images.flip(3)))
    assert (straight | mirrored).all() and straight.any() and mirrored.any()


def test_nothing_of_an_experience_is_kept_in_a_copy():
    plugin = DMReplayPlugin(8, current_augment="crop1", **QUICK)
    learner = strategy(plugin)
    learner.train(plain().train_stream[0])
    buffer = plugin.storage_policy
    assert buffer._ahead is None
    buffer.read_ahead(plain().train_stream[1])
    assert pickle.loads(pickle.dumps(buffer))._ahead is None


def test_what_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="expected none, flip, or crop"):
        DMReplayPlugin(8, current_augment="crop", **QUICK)
    monkeypatch.setattr(DistributedHelper, "_rank", 0, raising=False)
    monkeypatch.setattr(type(DistributedHelper), "is_distributed", property(lambda _: True))
    with pytest.raises(ValueError, match="of a single process"):
        strategy(DMReplayPlugin(8, current_augment="none", **QUICK)).train(plain().train_stream[0])
