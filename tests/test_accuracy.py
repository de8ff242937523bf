"""What it is all for, on real images: condensed sets beat as many random images, by known margins."""

import pytest
from sets import random_set

from dm_replay import CondenseConfig, EvalConfig, condense, evaluate, load_dataset

ALL_THREADS = True
NARROW = "convnet:width=64"  # a quarter of the multiplications of the papers' width


@pytest.mark.parametrize("ipc, least, margin", [(1, 80, 10), (2, 86, 4), (10, 95, 1)])
def test_digits(ipc, least, margin):
    """Means over two sets: a sketch of the method measured 92, 94, 98 against 75, 88, 97.5 of random images."""
    data = load_dataset("digits")
    config = CondenseConfig.preset("paper", ipc=ipc, iterations=200, batch_real=64, network=NARROW)
    training = EvalConfig(epochs=150)
    score = {"condensed": [], "random": []}
    for seed in range(2):
        for name, images in (
            ("condensed", condense(data.train, config, seed=seed)),
            ("random", random_set(data.train, ipc, seed)),
        ):
            score[name] += evaluate(images, data.test, training, network=NARROW, runs=2, seed=seed).accuracies
    condensed, random = (sum(values) / len(values) for values in score.values())
    assert condensed >= least and condensed - random >= margin, f"condensed {condensed:.1f}, random {random:.1f}"


@pytest.mark.timeout(3600)
def test_cifar10(data_root):
    """300 iterations at ipc 10 reach 34% and lead random real images by 10 points under the same evaluation.

    Of narrow networks, 32 real images a class and 150 epochs, so that it takes minutes on any cores; measured: 36 and
    23. The papers' width has 40 and more.
    """
    data, narrow = load_dataset("cifar10", data_root), "convnet:width=32"
    config = CondenseConfig.preset("paper", iterations=300, batch_real=32, network=narrow)
    training = EvalConfig(epochs=150)
    sets = {"condensed": condense(data.train, config, seed=0), "random": random_set(data.train, 10, seed=0)}
    found = {name: evaluate(kept, data.test, training, network=narrow, runs=2) for name, kept in sets.items()}
    print(f"\nCIFAR-10, ipc 10, 300 iterations: {found}")
    assert found["condensed"].mean >= 34 and found["condensed"].mean - found["random"].mean >= 10, str(found)
