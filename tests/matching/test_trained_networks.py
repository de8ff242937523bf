"""Networks that are trained on the real images, and the class term."""

import time
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from dm_replay import CondenseConfig, SiameseAugment, condense
from dm_replay.matching.extractors import Extractor, read_flat, write_flat
from dm_replay.matching.matcher import Matcher
from dm_replay.matching.trained_networks import train_networks
from dm_replay.runtime.engine import Engine

EXACT = Engine(torch.device("cpu"), torch.float64, compiled=False, chunk=16)
SMALL = dict(ipc=2, iterations=6, batch_real=8, network="convnet:width=8", compile="no", device="cpu")
PLUS = CondenseConfig.preset("plus", **SMALL, tiles=2, batch_syn=5, extractors=2, extractor_steps=3)


def test_trained_networks_learn_and_are_mixed_with_how_they_began(pool):
    extractor = Extractor("convnet:width=8", pool.shape, SiameseAugment(()), EXACT, classes=3)
    trained = train_networks(pool, pool.classes, extractor, 2, 30, seed=1)
    assert trained.initial.shape == trained.trained.shape and len(trained.initial) == 2
    assert torch.equal(trained.trained, train_networks(pool, pool.classes, extractor, 2, 30, seed=1).trained)
    images, labels = pool.take(torch.arange(len(pool))).double(), torch.searchsorted(pool.classes, pool.labels)
    errors = []
    for flat in (trained.initial[0], trained.trained[0]):
        write_flat(extractor.network, flat)
        errors.append(F.cross_entropy(extractor.network(images), labels))
    assert errors[1] < errors[0]
    for number in range(5):
        extractor.refresh(torch.Generator().manual_seed(number), trained)
        now = read_flat(extractor.network)
        parts = [(now - t) / (i - t) for i, t in zip(trained.initial, trained.trained, strict=True)]
        moved = (trained.initial[0] - trained.trained[0]).abs() > 1e-6
        spreads = [part[moved].std() for part in parts]
        assert min(spreads) < 1e-6  # one of them, all parameters by the same part


def test_an_accelerator_checks_the_compiled_training_by_its_gradients(pool, monkeypatch, recwarn):
    made = []
    monkeypatch.setattr(Engine, "accelerated", True)
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: lambda *args: made.append(args) or function(*args))
    extractor = Extractor("convnet:width=8", pool.shape, SiameseAugment(()), replace(EXACT, compiled=True), classes=3)
    train_networks(pool, pool.classes, extractor, 1, 2, seed=1)
    assert len(made) == 3 and not recwarn  # two steps and the check


def test_seconds_bound_the_training_of_networks(pool):
    extractor = Extractor("convnet:width=8", pool.shape, SiameseAugment(()), EXACT, classes=3)
    late = train_networks(pool, pool.classes, extractor, 2, 10**9, seed=1, seconds=0.0)
    for one, other in zip(late, train_networks(pool, pool.classes, extractor, 2, 1, seed=1), strict=True):
        assert torch.equal(one, other)
    bounded = CondenseConfig.preset("plus", **SMALL | {"iterations": 10**9}, extractor_steps=10**9, seconds=1.0)
    began = time.perf_counter()
    made = []
    condense(pool, bounded, on_step=lambda step: made.append(step.iteration))
    assert len(made) > 1 and time.perf_counter() - began < 60


def test_one_class_alone_has_no_class_term_and_random_networks(pool):
    plain = replace(PLUS, extractors=0, class_weight=0.0)
    one, other = (condense(pool, config, classes=[5], seed=2) for config in (PLUS, plain))
    assert torch.equal(one.images, other.images)


@pytest.mark.parametrize(("network", "features"), [("convnet:width=4", 16), ("convnet:width=16,depth=1", 256)])
def test_the_class_term_keeps_its_proportion_to_a_sum_over_features(pool, monkeypatch, network, features):
    weights = []

    class Seen(Matcher):
        def __init__(self, *args, class_weight, **more):
            weights.append(class_weight)
            super().__init__(*args, class_weight=class_weight, **more)

    monkeypatch.setattr("dm_replay.matching.condense.Matcher", Seen)
    settings = dict(ipc=1, iterations=1, extractors=1, extractor_steps=1, batch_real=4, compile="no", device="cpu")
    condense(pool, CondenseConfig.preset("fast", class_weight=10.0, network=network, **settings))
    assert weights == [10.0 * features / 2048]
