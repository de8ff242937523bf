"""Split-CIFAR10 in Avalanche: five experiences of two classes, and memories of the bytes of fifty raw images.

python examples/split_cifar10.py --root DIR --download          # ten minutes on two cores
"""

import argparse

import torch
from avalanche.benchmarks import class_incremental_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.supervised import Naive
from torch.utils.data import TensorDataset

from dm_replay import DMReplayPlugin, TensorPool, build_network, load_dataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--root", help="folder of the official files; the environment's DM_DATA by default")
parser.add_argument("--download", action="store_true")
parser.add_argument("--seconds", type=float, default=20.0, help="of condensing after each experience")
parser.add_argument("--images", type=int, help="of each part, for a quick look")
args = parser.parse_args()
data = load_dataset("cifar10", args.root, args.download)


def dataset(pool: TensorPool):
    items = TensorDataset(pool.take(rows := torch.arange(len(pool))[: args.images]), pool.labels[rows])
    items.targets = pool.labels[rows].tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(items)


stream = class_incremental_benchmark({"train": dataset(data.train)}, num_experiences=5, seed=0).train_stream
for name, settings in {"real images as WebP": {"kind": "webp"}, "condensed": {"seconds": args.seconds}}.items():
    replay = DMReplayPlugin(mem_bytes=50 * 3072, current="crop4_flip", **settings)  # type: ignore[arg-type]
    network = build_network("convnet:width=64", data.spec.shape, classes=10, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    Naive(model=network, optimizer=optimizer, train_mb_size=64, plugins=[replay], evaluator=None).train(stream)
    with torch.no_grad():
        tested = torch.arange(len(data.test))[: args.images].split(500)
        right = [network.eval()(data.test.take(rows)).argmax(1) == data.test.labels[rows] for rows in tested]
    print(f"{name}: {100 * torch.cat(right).float().mean():.1f} % in {replay.storage_policy.memory.nbytes:,} bytes")
