"""Networks trained at the same time: the same as one after another, and ready to be captured in a CUDA graph."""

import math

import numpy as np
import pytest
import torch
from sets import random_set
from torch.utils._python_dispatch import TorchDispatchMode

from dm_replay import EvalConfig, evaluate, load_dataset
from dm_replay.augment.siamese import SiameseAugment
from dm_replay.evaluation import trainer as training
from dm_replay.evaluation.evaluate import _evenly
from dm_replay.evaluation.recipe import EpochSampler
from dm_replay.evaluation.trainer import Trainer, networks_at_once
from dm_replay.networks import activation_values, build_network
from dm_replay.networks.convnet import ConvNet
from dm_replay.runtime.acceleration import StreamPool, cuda_graphed
from dm_replay.runtime.engine import GIB, Engine
from dm_replay.runtime.seeding import new_generator

SHORT = EvalConfig().but(epochs=5, batch=8, compile="no")
SEEDS = (7, 8, 9)
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "equal")


def engine(device="cpu", compiled=False):
    return Engine(torch.device(device), torch.float32, compiled=compiled, chunk=64)


def state(network):
    """A copy of everything the network holds, running statistics too."""
    return {name: value.clone() for name, value in network.state_dict().items()}


class NoWaiting(TorchDispatchMode):
    """Refuses what would make the host wait for a GPU, or could not be captured."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert not any(name == function._schema.name.removeprefix("aten::") for name in WAITS), function
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("norm", ["instance", "batch", "layer", "none"])
def test_together_equals_one_after_another(pool, device, norm):
    images, labels = pool.take(torch.arange(20)), torch.arange(20) % 3
    make = lambda: Trainer(f"convnet:width=8,norm={norm}", pool.shape, 3, SHORT, engine(device))  # noqa: E731
    trainer = make()
    alone = [state(*trainer.train_together(images, labels, [seed])) for seed in SEEDS]
    together = [state(network) for network in make().train_together(images, labels, SEEDS)]
    for one, other in zip(alone, together, strict=True):
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4)
    heads = [one["classifier.weight"] for one in together]
    assert (heads[0] - heads[1]).abs().max() > 0.01


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_a_batch_in_parts_trains_the_same_networks(pool, monkeypatch, chunk):
    seen, right = [], ConvNet.embed
    monkeypatch.setattr(ConvNet, "embed", lambda self, x: seen.append(len(x)) or right(self, x))
    images, labels = pool.take(torch.arange(20)).double(), torch.arange(20) % 3

    def trained(**bound):
        exact = Engine(torch.device("cpu"), torch.float32, compiled=False, chunk=64, **bound)
        trainer = Trainer("convnet:width=8", pool.shape, 3, SHORT, exact)
        trainer.networks = [build_network("convnet:width=8", pool.shape, 3).double() for _ in SEEDS]
        monkeypatch.setattr(trainer, "_logits", lambda network, x: network(x))
        networks = trainer.train_together(images, labels, SEEDS)
        return [state(network) for network in networks], trainer.accuracies(pool, pool.labels, 0)

    expected, _ = trained()
    assert max(seen) == 8
    seen.clear()
    torch.testing.assert_close(trained(gradient_chunk=chunk)[0], expected, rtol=1e-9, atol=1e-12)
    assert max(seen) <= chunk


def test_evaluation_keeps_to_the_budget_or_says_why_not(monkeypatch):
    """Room for five images at a time: training and testing take no more."""
    seen, right = [], ConvNet.embed
    monkeypatch.setattr(ConvNet, "embed", lambda self, x: seen.append(len(x)) or right(self, x))
    train, test, _ = load_dataset("digits")
    whole = random_set(train, 2)
    names = ("convnet:width=8", "convnet:width=8,norm=batch")
    for name in names:
        room = 5.5 * 4 * activation_values(name, train.shape).with_gradient / GIB
        config = EvalConfig().but(epochs=1, memory_budget=room, compile="no", device="cpu")
        seen.clear()
        if name == names[0]:
            evaluate(whole, test, config, network=name, runs=2)
            assert max(seen) == 5
        else:
            with pytest.warns(UserWarning, match="norm=batch has statistics over a whole batch, so it takes 20 images"):
                evaluate(whole, test, config, network=name, runs=1)
    with pytest.raises(ValueError, match="memory_budget must be above 0 GiB, got 0"):
        EvalConfig().but(memory_budget=0)


def test_warming_up_for_a_graph_leaves_no_trace_and_nothing_waits(pool, monkeypatch):
    """What a CUDA graph asks for, where there is none: calls beforehand, tensors that stay, no word to the host."""

    def pretended(function, device):
        def watched():
            with NoWaiting():
                function()

        watched()
        return watched

    images, labels = pool.take(torch.arange(20)), torch.arange(20) % 3
    trainer = Trainer("convnet:width=8,norm=batch", pool.shape, 3, SHORT, engine())
    plain = [state(network) for network in trainer.train_together(images, labels, SEEDS)]
    places = [p.data_ptr() for network in trainer.networks for p in network.parameters()]
    monkeypatch.setattr(training, "cuda_graphed", pretended)
    watched = [state(network) for network in trainer.train_together(images, labels, SEEDS)]
    for one, other in zip(plain, watched, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert places == [p.data_ptr() for network in trainer.networks for p in network.parameters()]


def test_a_wait_would_be_seen():
    with NoWaiting(), pytest.raises(AssertionError):
        torch.ones(1).item()


def test_capture_and_lanes_are_plain_calls_on_a_cpu():
    work, cpu = list, torch.device("cpu")
    assert cuda_graphed(work, cpu) is work
    lanes = StreamPool(cpu, 4)
    with lanes.forked(), lanes.lane(3):
        assert lanes.streams == []


def test_captured_work_is_replayed_from_the_same_tensors(device):
    value = torch.zeros(3, device=device)
    lanes = StreamPool(torch.device(device), 2)

    def work():
        with lanes.forked():
            for number in range(3):
                with lanes.lane(number):
                    value[number].add_(number)

    replay = cuda_graphed(work, torch.device(device))
    value.zero_()
    for _ in range(5):
        replay()
    assert value.tolist() == [0, 5, 10]


@pytest.mark.parametrize("families", ["color_crop_cutout_flip_scale_rotate", "crop", "none"])
def test_draws_are_those_of_a_run_alone(families):
    augment = SiameseAugment.parse(families)
    draws = EpochSampler(augment, 12, (8, 10), SEEDS)
    alone = [new_generator(seed, "train") for seed in SEEDS]
    for _ in range(3):
        params, orders = draws.epoch()
        for run, generator in enumerate(alone):
            for drawn, expected in zip(params, augment.sample(12, (8, 10), generator), strict=True):
                assert torch.equal(drawn[run], expected)
            assert torch.equal(orders[run], torch.randperm(12, generator=generator))


def test_runs_can_be_shared_out(pool):
    drawn, config = random_set(pool, 4), EvalConfig().but(epochs=8, compile="no", parallel_networks=2)
    measured = lambda **which: evaluate(drawn, pool, config, network="convnet:width=8", **which).accuracies  # noqa: E731
    assert measured(runs=2, seed=3) + measured(runs=3, seed=3, first=2) == measured(runs=5, seed=3)
    with pytest.raises(ValueError, match="first must be a whole number of at least 0, got -1"):
        measured(first=-1)


def test_every_run_tells_of_every_epoch(pool):
    told = []
    config = EvalConfig().but(epochs=3, compile="no", parallel_networks=2)
    report = evaluate(random_set(pool, 2), pool, config, network="convnet:width=4", runs=5,
                      on_epoch=lambda run, epoch: told.append((run, epoch)))  # fmt: skip
    assert told[:4] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert sorted(told) == [(run, epoch) for run in range(5) for epoch in range(4)]
    assert len(report.accuracies) == 5 and report.settings["engine"]["parallel_networks"] == 2


def test_groups_are_even():
    assert (_evenly(5, 4), _evenly(2, 4)) == (3, 2)
    assert (_evenly(25, 20), _evenly(12, 20)) == (13, 12) and _evenly(3, 1) == 1


def test_how_many_together():
    long, cpu, gpu = EvalConfig(), engine(), engine("cuda", compiled=True)
    assert networks_at_once(long, gpu, 100, 100, (32, 32)) == 20
    assert networks_at_once(long, gpu, 5, 100, (32, 32)) == 5
    assert networks_at_once(long, gpu, 20, 5000, (32, 32)) == 20
    assert networks_at_once(long, gpu, 20, 50_000, (32, 32)) == 2
    assert networks_at_once(long, gpu, 20, 500, (224, 224)) == 1
    assert networks_at_once(long, cpu, 20, 10, (8, 8)) == 20
    assert networks_at_once(long, engine(compiled=True), 20, 100, (32, 32)) == 1
    assert networks_at_once(SHORT, cpu, 20, 10, (8, 8)) == 1
    assert networks_at_once(EvalConfig(parallel_networks=7), engine(compiled=True), 20, 100, (32, 32)) == 7
    with pytest.raises(ValueError, match="parallel_networks must be a whole number of at least 0, got -1"):
        EvalConfig(parallel_networks=-1)


def test_accuracies_agree_in_distribution():
    """20 networks each on digits, other seeds. The bound is narrow enough to see a schedule cut by a third."""
    data = load_dataset("digits")
    train_set = random_set(data.train, 2, seed=0)

    def measured(together, seed, epochs=60):
        config = EvalConfig().but(epochs=epochs, lr=0.02, compile="no", parallel_networks=together)
        found = evaluate(train_set, data.test, config, network="convnet:width=16", runs=20, seed=seed).accuracies
        return np.mean(found), np.std(found, ddof=1) / math.sqrt(20)

    def distance(one, other):
        """Of the means, in standard errors."""
        return abs(one[0] - other[0]) / math.hypot(one[1], other[1])

    together, alone, short = measured(20, seed=1), measured(1, seed=2), measured(20, seed=1, epochs=40)
    assert distance(together, alone) < 3 and 0.5 < together[1] / alone[1] < 2, (together, alone)
    assert distance(short, alone) > 3, (short, alone)
