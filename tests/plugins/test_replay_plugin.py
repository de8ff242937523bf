"""DMReplayPlugin: a drop-in for ReplayPlugin, and the pitfalls of its host."""

import copy
import pickle
import warnings

import dill
import pytest
import torch
from avalanche.checkpointing import maybe_load_checkpoint, save_checkpoint
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import ReplayPlugin
from streams import QUICK, SCENARIOS, Blobs, Spy, labelled, plain, run, strategy
from torch.utils.data import DataLoader

from dm_replay.plugins.replay import DMReplayPlugin
from dm_replay.plugins.storage_policy import CondensedBuffer


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("plugin", [ReplayPlugin, DMReplayPlugin])
def test_one_name_is_swapped_for_the_other(plugin, scenario, recwarn):
    replay = plugin(mem_size=10) if plugin is ReplayPlugin else plugin(mem_size=10, **QUICK)
    spy = run(SCENARIOS[scenario](), replay)
    assert len(replay.storage_policy.buffer) == 10
    assert {len(x) for x, *_ in spy.batches[0]} == {8}
    if plugin is DMReplayPlugin:
        assert {len(x) for experience in spy.batches[1:] for x, *_ in experience} == {16}
        assert not [w for w in recwarn if issubclass(w.category, DeprecationWarning)]


def test_arguments_stand_in_the_same_order():
    replay = DMReplayPlugin(30, 4, 6, True, CondensedBuffer(30, **QUICK))
    assert (replay.mem_size, replay.batch_size, replay.batch_size_mem) == (30, 4, 6)
    assert replay.task_balanced_dataloader


def test_a_memory_of_the_first_classes_is_replayed_with_their_labels_and_pixels():
    replay = DMReplayPlugin(8, augment_replay=False, lr_img=1e-9, **QUICK)
    spy = run(plain(), replay)
    for experience, seen in ((1, {0, 1}), (2, {0, 1, 2, 3})):
        for x, y in spy.batches[experience]:
            assert set(y[8:].tolist()) == seen
            for image, c in zip(x[8:], y[8:].tolist(), strict=True):
                real = Blobs().images[torch.tensor(Blobs().targets) == c]
                assert (real - image).abs().amax((1, 2, 3)).min() < 0.01, "lr 0: a real image, quantized"


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("size,memory_rows", [(6, 7), (10, 4), (7, None)])
def test_replay_batches_have_constant_size(size, memory_rows, drop_last):
    spy = run(plain(), DMReplayPlugin(size, None, memory_rows, **QUICK), drop_last=drop_last)
    for experience in spy.batches[1:]:
        assert [len(y) for _, y in experience] == [8 + (memory_rows or 8)] * 3


def test_its_own_batch_size_is_for_the_current_data():
    spy = run(plain(), DMReplayPlugin(6, 3, 5, **QUICK))
    assert [len(y) for _, y in spy.batches[1]] == [3 + 5] * 8
    spy = run(plain(), DMReplayPlugin(6, 9, 5, **QUICK), drop_last=True)
    assert [len(y) for _, y in spy.batches[1]] == [9 + 5] * 2


def test_augmentation_touches_the_memory_alone():
    replay = DMReplayPlugin(6, augment="cutout", **QUICK)
    spy = run(plain(), replay)
    mean = float(replay.storage_policy.memory.standardization.mean)
    for x, _ in spy.batches[1]:
        cut = (x == mean).flatten(1).sum(1)
        assert (cut[:8] == 0).all() and (cut[8:] >= 4).all()
    spy = run(plain(), DMReplayPlugin(6, augment="cutout", augment_replay=False, **QUICK))
    assert all((x != mean).all() for x, _ in spy.batches[1])


@pytest.mark.parametrize("benchmark", [plain, labelled])
def test_the_loader_keeps_what_train_was_told(benchmark):
    spy = Spy()
    learner = strategy(DMReplayPlugin(6, **QUICK), spy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pinning without a GPU
        for experience in benchmark().train_stream:
            learner.train(experience, pin_memory=True, num_workers=0, persistent_workers=True)
    for loader in spy.loaders[1:]:
        current = loader.data
        assert current.pin_memory if isinstance(current, DataLoader) else current.loader_kwargs["pin_memory"]


def test_workers():
    replay = DMReplayPlugin(6, **QUICK)
    spy = run(plain(), replay, num_workers=1, persistent_workers=True)
    assert {len(y) for _, y in spy.batches[2]} == {16}
    assert len(list(DataLoader(replay.storage_policy.buffer, 2, num_workers=1))) == 3


def test_unshuffled():
    spy = run(plain(), DMReplayPlugin(8, augment="none", **QUICK), shuffle=False)
    assert spy.batches[1][0][1][8:].tolist() == [0] * 4 + [1] * 4


def test_task_balanced_batches_and_data_without_tasks():
    aware = SCENARIOS["task-incremental, class ids from 0"]()
    spy = run(aware, DMReplayPlugin(9, task_balanced_dataloader=True, **QUICK))
    for _, _, t in spy.batches[2]:
        assert t[8:].bincount().tolist() == [4, 4]
    spy = run(plain(), DMReplayPlugin(9, task_balanced_dataloader=True, **QUICK))
    assert {len(y) for _, y in spy.batches[2]} == {16}


@pytest.mark.parametrize("order", [(plain, labelled), (labelled, plain)])
def test_data_with_and_without_task_labels_in_one_memory(order):
    replay = DMReplayPlugin(6, **QUICK)
    spy, learner = Spy(), strategy(replay)
    learner.plugins.insert(1, spy)
    for benchmark, experience in zip(order, (0, 1), strict=True):
        learner.train(benchmark().train_stream[experience])
    assert {len(batch) for batch in spy.batches[1]} == {3 if order[1] is labelled else 2}
    assert len(replay.storage_policy.buffer[0]) == (3 if order[1] is labelled else 2)


def test_too_small_a_memory_is_an_error_before_training():
    replay = DMReplayPlugin(3, **QUICK)
    spy, learner = Spy(), strategy(replay)
    learner.plugins.insert(1, spy)
    stream = labelled().train_stream
    learner.train(stream[0])
    with pytest.raises(ValueError, match="mem_size 3 cannot hold 4 classes"):
        learner.train(stream[1])
    assert len(spy.batches) == 1 and len(replay.storage_policy.buffer) == 3


def test_a_checkpoint_goes_on_exactly(tmp_path, monkeypatch):
    monkeypatch.setitem(dill.settings, "byref", True)  # else Avalanche cannot pickle torch.optim
    stream = labelled().train_stream
    straight, stopped = (strategy(DMReplayPlugin(7, **QUICK)) for _ in range(2))
    torch.manual_seed(1)
    for experience in stream:
        straight.train(experience)
    torch.manual_seed(1)
    for experience in stream[:2]:
        stopped.train(experience)
    save_checkpoint(stopped, tmp_path / "checkpoint.pt")
    torch.manual_seed(2)
    resumed, done = maybe_load_checkpoint(strategy(DMReplayPlugin(7, **QUICK)), tmp_path / "checkpoint.pt")
    assert done == 2
    resumed.train(stream[2])
    for ours, theirs in zip(straight.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    memories = [learner.plugins[0].storage_policy.memory.to_set()[0] for learner in (straight, resumed)]
    assert torch.equal(memories[0].images, memories[1].images)


@pytest.mark.parametrize("module", [pickle, dill])
def test_a_pickled_plugin_holds_no_data(module):
    replay = DMReplayPlugin(6, **QUICK)
    run(plain(), replay)
    size = len(module.dumps(replay))
    assert len(replay.storage_policy.buffer) == 6
    assert len(module.dumps(replay)) == size < 20_000
    copy = module.loads(module.dumps(replay))
    assert torch.equal(copy.storage_policy.buffer[3][0], replay.storage_policy.buffer[3][0])


class Copier(SupervisedPlugin):
    """Copies the whole strategy where a copy of one with the stock plugin works too: before anything has a gradient."""

    def __init__(self):
        super().__init__()
        self.copies = []

    def before_training_epoch(self, strategy, **kwargs):
        self.copies.append(copy.deepcopy(strategy))


@pytest.mark.parametrize("plugin", [lambda: ReplayPlugin(6), lambda: DMReplayPlugin(6, **QUICK)])
def test_a_strategy_can_be_copied_while_it_trains(plugin):
    copier = Copier()
    learner = strategy(plugin(), copier)
    for experience in plain().train_stream:
        learner.train(experience)
    assert len(copier.copies) == 3
    assert len(list(copier.copies[2].dataloader)) == 3
