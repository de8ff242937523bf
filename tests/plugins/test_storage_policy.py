"""CondensedBuffer: an Avalanche buffer, and the pitfalls of reading and handing out images."""

import pickle
import warnings
from unittest.mock import MagicMock

import dill
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, nc_benchmark
from avalanche.benchmarks.utils import AvalancheDataset, as_classification_dataset
from avalanche.training.plugins import GDumbPlugin
from streams import CLASSES, QUICK, Blobs, Spy, labelled, plain, run, strategy
from terminal import Terminal
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import RandomHorizontalFlip, ToPILImage

from dm_replay.plugins.buffer import GroupKey
from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer


@pytest.mark.parametrize("benchmark", [plain, labelled])
def test_the_buffer_is_an_ordinary_avalanche_dataset(benchmark):
    buffer = CondensedBuffer(6, **QUICK)
    assert len(buffer.buffer) == 0
    experience = benchmark().train_stream[0]
    buffer.post_adapt(None, experience)
    data = buffer.buffer
    assert isinstance(data, AvalancheDataset) and data is buffer.buffer, "built once"
    image, label, *task = data[0]
    assert image.dtype == torch.float32 and image.device.type == "cpu" and not image.requires_grad
    assert type(label) is int and all(type(t) is int for t in task)
    assert data.targets.uniques == {0, 1}
    assert torch.equal(data.train()[0][0], data.eval()[0][0])
    for one, other in ((data, experience.dataset), (experience.dataset, data)):
        both = one.concat(other)
        assert sum(len(batch[0]) for batch in DataLoader(both, 15, collate_fn=both.collate_fn)) == len(both)
    (group_item, *_) = buffer.buffer_groups[GroupKey(0, 1)].buffer
    assert group_item[1:] == (1, 0) or group_item[1:] == [1, 0], "with a task label in any case, as the stock groups"
    if task:
        assert data.targets_task_labels.uniques == {0} and len(data.task_set) == 1


def test_groups_are_keyed_by_task_and_class():
    replay = DMReplayPlugin(12, **QUICK)
    run(labelled(task_labels=True, class_ids_from_zero_in_each_exp=True), replay)
    buffer = replay.storage_policy
    assert list(buffer.buffer_groups) == [GroupKey(task, c) for task in range(3) for c in range(2)]
    for key, group in buffer.buffer_groups.items():
        assert len(group.buffer) == group.max_size == 2
        assert {(t, y) for _, y, t in group.buffer} == {(key.task, int(key))}
    assert [len(d) for d in buffer.buffer_datasets] == [2] * 6
    assert buffer.get_group_lengths(5) == [3, 3, 2, 2, 2]


def test_a_group_key_is_its_class_and_survives_pickling():
    key = GroupKey(1, 3)
    assert int(key) == 3 and key != GroupKey(0, 3) and key != 3
    for module in (pickle, dill):
        copy = module.loads(module.dumps(key))
        assert copy == key and hash(copy) == hash(key) and copy.task == 1


def test_an_empty_experience_is_an_error():
    with pytest.raises(ValueError, match="at least one image, got an empty one"):
        empty = as_classification_dataset(Blobs()).subset([])
        CondensedBuffer(6, **QUICK).post_adapt(None, benchmark_from_datasets(train=[empty]).train_stream[0])


@pytest.mark.parametrize("call", ["update", "post_adapt"])
def test_nothing_is_asked_of_the_agent(call):
    experience, buffer = plain().train_stream[0], CondensedBuffer(6, **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if call == "update":
            buffer.update(MagicMock(experience=experience))
        else:
            buffer.post_adapt(MagicMock(), experience)
    assert len(buffer.buffer) == 6


def test_the_global_generator_is_left_alone():
    state, buffer = torch.get_rng_state(), CondensedBuffer(6, **QUICK)
    buffer.post_adapt(None, plain().train_stream[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_images_come_from_the_eval_transforms():
    benchmark = nc_benchmark(
        Blobs(), Blobs(), 3, task_labels=False, fixed_class_order=list(range(CLASSES)),
        train_transform=torch.zeros_like, eval_transform=lambda x: 100 - x,
    )  # fmt: skip
    buffer = CondensedBuffer(6, **QUICK, lr_img=1e-9)
    buffer.post_adapt(None, benchmark.train_stream[0])
    assert all(98 < image.min() <= image.max() < 100 for image, *_ in buffer.buffer)


def test_random_transforms_inside_the_dataset_are_pointed_out_once():
    buffer = CondensedBuffer(6, **QUICK)
    stream = plain(RandomHorizontalFlip()).train_stream
    with pytest.warns(UserWarning, match="differ each time they are read"):
        buffer.post_adapt(None, stream[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        buffer.post_adapt(None, stream[1])
        CondensedBuffer(6, **QUICK).post_adapt(None, plain().train_stream[0])


def test_pil_images_are_refused_in_a_line():
    with pytest.raises(ValueError, match="eval_transform that ends in a tensor"):
        CondensedBuffer(6, **QUICK).post_adapt(None, plain(ToPILImage()).train_stream[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32])
def test_the_buffer_hands_out_what_it_was_given(dtype):
    replay, spy = DMReplayPlugin(6, **QUICK), Spy()
    learner = strategy(replay, spy, model=nn.Sequential(nn.Flatten(), ToDouble(), nn.Linear(64, CLASSES).double()))
    stream = plain(lambda x: (x * 100).to(dtype)).train_stream
    replay.storage_policy.post_adapt(None, stream[0])
    assert {image.dtype for image, *_ in replay.storage_policy.buffer} == {dtype}
    learner.train(stream[1])
    assert {x.dtype for x, _ in spy.batches[0]} == {dtype}


class ToDouble(nn.Module):
    def forward(self, x):
        return x.double()


def test_gdumb_trains_on_the_memory_alone():
    gdumb, spy = GDumbPlugin(6), Spy()
    gdumb.storage_policy = CondensedBuffer(6, **QUICK)
    learner = strategy(gdumb, spy, batch=4)
    for experience in labelled().train_stream:
        learner.train(experience)
    assert [sum(len(y) for _, y, _ in experience) for experience in spy.batches] == [6, 6, 6]
    assert {int(c) for _, y, _ in spy.batches[2] for c in y} == set(range(CLASSES))


def test_resize():
    buffer = CondensedBuffer(8, **QUICK)
    buffer.post_adapt(None, plain().train_stream[0])
    buffer.resize(None, 5)
    assert len(buffer.buffer) == 5 == buffer.max_size
    assert [g.max_size for g in buffer.buffer_groups.values()] == [3, 2]


def test_an_empty_buffer_survives_pickling_and_resizing():
    buffer = pickle.loads(pickle.dumps(CondensedBuffer(6, **QUICK)))
    assert len(buffer.buffer) == 0
    buffer.resize(None, 8)
    assert len(buffer.buffer) == 0 and buffer.memory.mem_size == 8


def test_the_bar_counts_the_iterations(monkeypatch):
    shown, quiet = Terminal(), Terminal()
    for terminal, progress in ((shown, True), (quiet, False)):
        monkeypatch.setattr("sys.stderr", terminal)
        CondensedBuffer(6, progress=progress, **QUICK).post_adapt(None, plain().train_stream[0])
    assert "condensing" in shown.text and quiet.text == ""
