import json
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from sets import random_set

from dm_replay import EvalConfig, ImageSet, TensorPool, evaluate
from dm_replay.evaluation.evaluate import EvalReport
from dm_replay.evaluation.trainer import Trainer
from dm_replay.networks import build_network, reset
from dm_replay.runtime.engine import Engine
from dm_replay.runtime.seeding import new_generator

PLAIN = Engine(torch.device("cpu"), torch.float32, compiled=False, chunk=64)
QUICK = EvalConfig().but(epochs=30, compile="no", augment="none")


@pytest.fixture
def halves():
    """Two classes that anybody can tell apart: bright left (label 3) and bright right (label 8) halves."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(60, 1, 8, 8, generator=generator)
    images[:30, ..., :4] += 1
    images[30:, ..., 4:] += 1
    return TensorPool(images, [3] * 30 + [8] * 30)


@pytest.mark.parametrize("steps", [None, 1, 2, 7, 12])
def test_training_equals_the_slow_loop(pool, steps):
    config = EvalConfig().but(epochs=5, steps=steps, batch=8, compile="no")
    images, labels = pool.take(torch.arange(20)), torch.arange(20) % 3
    trainer = Trainer("convnet:width=8", pool.shape, 3, config, PLAIN)
    (fast,) = trainer.train_together(images, labels, [7])

    generator = new_generator(7, "train")
    slow = build_network("convnet:width=8", pool.shape, 3)
    reset(slow, generator)
    draws = lambda: (trainer.augment.sample(20, (8, 8), generator), torch.randperm(20, generator=generator))  # noqa: E731
    reference.train(slow, images, labels, 5, 8, draws, steps)
    for one, other in zip(fast.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_accuracy_counts_every_test_image_once(pool):
    trainer = Trainer("convnet:width=8", pool.shape, 3, QUICK, PLAIN)
    big = TensorPool(pool.images.repeat(12, 1, 1, 1), pool.labels.repeat(12), pool.mean, pool.std)
    labels = torch.searchsorted(big.classes, big.labels)
    expected = (trainer.networks[0].eval()(big.take(torch.arange(len(big)))).argmax(1) == labels).float().mean()
    assert len(big) == 336 and trainer.accuracies(big, labels, 1)[0] == pytest.approx(100 * float(expected))


def test_an_easy_problem_is_learned_and_wrong_labels_are_not(halves):
    good = random_set(halves, 5)
    bad = ImageSet.from_images(good.images, good.labels.flip(0))
    assert evaluate(good, halves, QUICK, network="convnet:width=16", runs=2).mean > 95
    assert evaluate(bad, halves, QUICK, network="convnet:width=16", runs=2).mean < 5


def test_report(halves):
    seen = []
    report = evaluate(
        random_set(halves, 2), halves, QUICK, network="convnet:width=4", runs=3, seed=5,
        on_epoch=lambda run, epoch: seen.append((run, epoch)),
    )  # fmt: skip
    assert len(report.accuracies) == 3 and report.mean == pytest.approx(np.mean(report.accuracies))
    assert report.std == pytest.approx(np.std(report.accuracies))
    assert seen == [(run, epoch) for run in range(3) for epoch in range(31)]
    read = json.loads(report.to_json())
    assert read["mean"] == report.mean and read["settings"]["epochs"] == 30 and read["settings"]["stored_bytes"] == 1024
    again = evaluate(random_set(halves, 2), halves, QUICK, network="convnet:width=4", runs=3, seed=5)
    assert again.accuracies == report.accuracies


@pytest.mark.parametrize(("runs", "text"), [(1, "43.00 % over 1 network"), (2, "44.00 ± 1.00 % over 2 networks")])
def test_one_network_has_no_deviation(runs, text):
    assert str(EvalReport((43.0, 45.0)[:runs], settings={}, seconds=1.0)) == text


@pytest.mark.parametrize("options", [{"lr": 1e30}, {"lr": 1e15}, {"lr": 1e30, "steps": 3}], ids=str)
def test_a_training_that_diverged_is_no_accuracy(halves, options):
    config = replace(QUICK, **options)
    with pytest.raises(ValueError, match=r"outputs of network 4 became infinite or NaN: lower lr, which is 1e\+\d+$"):
        evaluate(random_set(halves, 2), halves, config, network="convnet:width=4", runs=2, first=4)


def normalized_as(train_set, mean, std):
    return train_set.with_meta(mean=list(mean), std=list(std))


def test_a_wider_head_has_outputs_for_classes_that_are_still_to_come(halves, monkeypatch):
    widths = []
    original = Trainer.__init__

    def noted(self, network, shape, classes, *rest):
        widths.append(classes)
        original(self, network, shape, classes, *rest)

    monkeypatch.setattr(Trainer, "__init__", noted)
    reports = [
        evaluate(random_set(halves, 20), halves, QUICK, network="convnet:width=8", runs=1, head=h) for h in (None, 5)
    ]
    assert widths == [2, 5] and [report.settings["head"] for report in reports] == [2, 5]
    assert min(report.mean for report in reports) > 90
    with pytest.raises(ValueError, match="a head of 1 is too narrow for 2 classes"):
        evaluate(random_set(halves, 20), halves, QUICK, head=1)


def test_images_normalized_otherwise_than_the_test_images_are_refused(pool):
    drawn, quick = random_set(pool, 1), {"network": "convnet:width=4,depth=1", "runs": 1}
    config = EvalConfig().but(epochs=1, compile="no", augment="none")
    rounded = normalized_as(drawn, (0.50004, 0.4, 0.29996), pool.std)
    assert evaluate(rounded, pool, config, **quick).accuracies == evaluate(drawn, pool, config, **quick).accuracies
    with pytest.raises(ValueError, match=r"normalized with mean 0.5, 0.5, 0.5, the test images with 0.5, 0.4, 0.3"):
        evaluate(normalized_as(drawn, (0.5, 0.5, 0.5), pool.std), pool, config, **quick)
    with pytest.raises(ValueError, match=r"normalized with std 0.2, 0.2, 0.2, the test images with 0.2, 0.25, 0.3"):
        evaluate(normalized_as(drawn, pool.mean, (0.2, 0.2, 0.2)), pool, config, **quick)
    plain = TensorPool(pool.images, pool.labels)
    with pytest.raises(ValueError, match=r"normalized with mean 0.5, 0.4, 0.3, the test images with 0, 0, 0"):
        evaluate(drawn, plain, config, **quick)
    evaluate(random_set(plain, 1), pool, config, **quick)  # says nothing of it
    evaluate(drawn, TensorPool(pool.take(torch.arange(len(pool))), pool.labels), config, **quick)


def test_errors(halves, pool):
    drawn = random_set(halves, 2)
    with pytest.raises(ValueError, match=r"images are \(1, 8, 8\), the test images \(3, 8, 8\)"):
        evaluate(drawn, pool, QUICK)
    with pytest.raises(ValueError, match="class 8 of the set has no test images"):
        evaluate(drawn, halves.subset([3]), QUICK)
    with pytest.raises(ValueError, match="runs must be a whole number of at least 1"):
        evaluate(drawn, halves, QUICK, runs=0)
    with pytest.raises(ValueError, match="unknown network"):
        evaluate(drawn, halves, QUICK, network="mlpp")
    with pytest.raises(ValueError, match="expected lr > 0"):
        EvalConfig(lr=-1)
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1"):
        EvalConfig(epochs=0)
