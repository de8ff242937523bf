"""Class-incremental digits in Avalanche, without a memory and with one of twenty condensed images.

python examples/avalanche_replay.py          # a minute on two cores
"""

import argparse

import torch
from avalanche.benchmarks import class_incremental_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.supervised import Naive
from torch.utils.data import TensorDataset

from dm_replay import DMReplayPlugin, TensorPool, build_network, load_dataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--iterations", type=int, default=100, help="updates of the condensed images per experience")
parser.add_argument("--epochs", type=int, default=8, help="of training per experience")
args = parser.parse_args()


def dataset(pool: TensorPool):
    data = TensorDataset(pool.take(torch.arange(len(pool))), pool.labels)
    data.targets = pool.labels.tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(data)


train, test, spec = load_dataset("digits")
benchmark = class_incremental_benchmark({"train": dataset(train), "test": dataset(test)}, num_experiences=5, seed=0)
replay = DMReplayPlugin(20, preset="paper", iterations=args.iterations, augment="color_crop_cutout_scale_rotate")
for name, plugins in {"no memory": [], "condensed replay": [replay]}.items():
    network = build_network("convnet:width=32,depth=2", spec.shape, classes=10, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    metrics = EvaluationPlugin(accuracy_metrics(stream=True))
    settings = {"train_mb_size": 32, "train_epochs": args.epochs, "plugins": plugins, "evaluator": metrics}
    strategy = Naive(model=network, optimizer=optimizer, **settings)
    strategy.train(benchmark.train_stream)
    print(f"{name}: {strategy.eval(benchmark.test_stream)}")
