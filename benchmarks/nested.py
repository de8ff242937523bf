"""Nested condensation: ten images per class, cut to their first 1, 2, 5 and 10, under several prefix weightings.

    python benchmarks/nested.py --dataset digits
    python benchmarks/nested.py --dataset cifar10 --iterations 300 --seeds 1

Prints a table and writes benchmarks/results/nested_<dataset>.json. Each row of settings is one condensation a seed;
"alone" condenses every length for itself, "random" takes random real images. Memory-only training, last epoch.
"""

import argparse

from common import here, write_result

from dm_replay import CondenseConfig, EvalConfig, condense, evaluate, load_dataset
from dm_replay.coresets.random import random_set

IPC, LENGTHS = 10, (1, 2, 5, 10)
WEIGHTINGS = {
    "plain": {},
    "equal": {"prefix_weight": 1.0},
    "k^2": {"prefix_weight": 1.0, "prefix_power": 2.0},
    "k": {"prefix_weight": 1.0, "prefix_power": 1.0},
    "0.2": {"prefix_weight": 0.2},
    "0.05": {"prefix_weight": 0.05},
    "0.02": {"prefix_weight": 0.02},
}


def sets_of(name, data, options, seed):
    """{length: condensed set} of one way of making them."""
    config = dict(iterations=options.iterations)
    if name == "random":
        whole = random_set(data.train, IPC, seed)
        return {k: whole.prefix(k) for k in LENGTHS}
    if name == "alone":
        return {k: condense(data.train, CondenseConfig(**config, ipc=k), seed=seed) for k in LENGTHS}
    whole = condense(data.train, CondenseConfig(**config, ipc=IPC, **WEIGHTINGS[name]), seed=seed)
    return {k: whole.prefix(k) for k in LENGTHS}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--root")
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3, help="networks for each set")
    parser.add_argument("--seeds", type=int, default=3, help="condensations for each row")
    parser.add_argument("--rows", nargs="+", default=["random", *WEIGHTINGS, "alone"])
    options = parser.parse_args()
    data = load_dataset(options.dataset, options.root)
    evaluation = EvalConfig(epochs=options.epochs)

    rows = {}
    print(f"{'':8s}" + "".join(f"{k:>14d}" for k in LENGTHS))
    for name in options.rows:
        accuracies = {k: [] for k in LENGTHS}
        for seed in range(options.seeds):
            for k, images in sets_of(name, data, options, seed).items():
                report = evaluate(images, data.test, evaluation, runs=options.runs, seed=seed)
                accuracies[k] += report.accuracies
        rows[name] = accuracies
        mean = {k: sum(a) / len(a) for k, a in accuracies.items()}
        spread = {k: (sum((x - mean[k]) ** 2 for x in a) / len(a)) ** 0.5 for k, a in accuracies.items()}
        print(f"{name:8s}" + "".join(f"{mean[k]:8.1f} ±{spread[k]:4.1f}" for k in LENGTHS), flush=True)
    write_result(f"nested_{options.dataset}", {"accuracies": rows, "settings": vars(options), **here()})


if __name__ == "__main__":
    main()
