"""Split-CIFAR10 in Avalanche: five experiences of two classes, and memories of the bytes of fifty raw images.

python examples/split_cifar10.py --root DIR --download          # six minutes on two cores
"""

import argparse

import torch
from avalanche.benchmarks import class_incremental_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.supervised import Naive
from torch.utils.data import TensorDataset

from dm_replay import DMReplayPlugin, build_network, load_dataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--root", help="folder of the official files; the environment's DM_DATA by default")
parser.add_argument("--download", action="store_true")
parser.add_argument("--seconds", type=float, default=20.0, help="of condensing after each experience")
parser.add_argument("--images", type=int, help="of each part, for a quick look")
args = parser.parse_args()
train, test, spec = load_dataset("cifar10", args.root, args.download)
items = TensorDataset(train.take(rows := torch.arange(len(train))[: args.images]), train.labels[rows])
items.targets = train.labels[rows].tolist()  # type: ignore[attr-defined]
stream = class_incremental_benchmark({"train": as_classification_dataset(items)}, num_experiences=5, seed=0)
ours = dict(mem_bytes=50 * 3072, batch_size_mem=192, current_augment="crop4_flip")  # three replayed for one current
memories = {
    "stock, whole images": ReplayPlugin(mem_size=50, batch_size_mem=192),
    "real images": DMReplayPlugin(**ours, kind="herding"),  # type: ignore[arg-type]
    "condensed images": DMReplayPlugin(**ours, seconds=args.seconds),  # type: ignore[arg-type]
}
for name, replay in memories.items():
    network = build_network("convnet:width=32", spec.shape, classes=10, seed=0)
    sgd = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9)
    Naive(model=network, optimizer=sgd, train_mb_size=64, plugins=[replay], evaluator=None).train(stream.train_stream)
    with torch.no_grad():
        parts = torch.arange(len(test))[: args.images].split(500)
        right = torch.cat([network.eval()(test.take(rows)).argmax(1) == test.labels[rows] for rows in parts])
    print(f"{name}: {100 * right.float().mean():.1f} %", flush=True)
