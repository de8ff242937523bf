"""What a mini-batch costs before the network sees it: transforms image by image beside
``current_augment="crop4_flip"``.

    DM_DATA=DIR python -m benchmarks.fast_path

Two experiences of CIFAR-100 in Avalanche, random crops and flips, a memory of 200 images, mini-batches of 64 + 64. The
loaders that strategies would train from are gone through in turns: Avalanche's own replay (which transforms memory
images, too), condensed replay behind the strategy's own loader, and replay with current images as tensors, of condensed
images and of herded ones in the bytes of 200 images, as mosaics and by `Dct`.
Times are of one process without workers, in seconds; results/fast_path.jsonl.
"""

import argparse
import itertools
import os
import time
import warnings
from statistics import median

import torch

from dm_replay import Dct, DMReplayPlugin, Tiles, load_dataset

from .cost_tables import current_images
from .results import append, markdown

QUICK = dict(iterations=1, batch_real=8, extractor_steps=2, network="convnet:width=8", compile="no", progress=False)
HERDED = dict(mem_bytes=200 * 3072, kind="herding", current_augment="crop4_flip", network="convnet:width=8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batches", type=int, default=60, help="of each turn")
    options = parser.parse_args()
    from avalanche.training.plugins import ReplayPlugin

    warnings.filterwarnings("ignore")
    plugins = {
        "stock replay": ReplayPlugin(200, batch_size_mem=64),
        "condensed replay": DMReplayPlugin(200, **QUICK),
        "condensed replay, current images as tensors": DMReplayPlugin(200, current_augment="crop4_flip", **QUICK),
        "the same, herded mosaics": DMReplayPlugin(codec=Tiles(), **HERDED),
        "the same, herded images by `Dct`": DMReplayPlugin(codec=Dct(), **HERDED),
    }
    stream = experiences()
    loaders, reading, times = {}, {}, {}
    for name, plugin in plugins.items():
        loaders[name], reading[name] = loader_of(plugin, stream)
        times[name] = []
    for _ in range(options.turns):
        for name, loader in loaders.items():
            times[name].append(seconds(loader, options.batches))
    same = {"dataset": "cifar100", "batch": 64, "replay": 64, "batches": options.batches}
    rows = [{"part": name, "seconds": median(turns), "turns": turns} for name, turns in times.items()]
    append("fast_path", [{**same, **row, "seconds_before": reading[row["part"]]} for row in rows])
    print(markdown(current_images()))


def experiences():
    """Two of ten classes each, as torchvision users have them: PIL images, transforms of both kinds."""
    from avalanche.benchmarks import class_incremental_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset
    from torchvision.datasets import CIFAR100
    from torchvision.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToTensor

    spec = load_dataset("cifar100").spec
    usual = [ToTensor(), Normalize(spec.mean, spec.std)]
    train = Compose([RandomCrop(32, padding=4), RandomHorizontalFlip(), *usual])
    groups = {"train": (train, None), "eval": (Compose(usual), None)}
    data = as_classification_dataset(CIFAR100(os.environ["DM_DATA"]), transform_groups=groups)
    return class_incremental_benchmark({"train": data}, num_experiences=10, seed=0).train_stream[:2]


def loader_of(plugin, stream):
    """What a strategy would train the second experience from, and the seconds that it took to make it."""
    from avalanche.core import SupervisedPlugin
    from avalanche.training.supervised import Naive

    class Keep(SupervisedPlugin):
        def before_training_exp(self, strategy, **kwargs):
            self.loader, strategy.dataloader = strategy.dataloader, []

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 100))
    keep = Keep()
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    learner = Naive(model=network, optimizer=optimizer, train_mb_size=64, plugins=[plugin, keep], evaluator=None)
    learner.train(stream[0])
    plugin_before, spent = plugin.before_training_exp, []

    def timed(*args, **kwargs):
        started = time.perf_counter()
        plugin_before(*args, **kwargs)
        spent.append(time.perf_counter() - started)

    plugin.before_training_exp = timed
    learner.train(stream[1])
    return keep.loader, spent[0]


def seconds(loader, batches: int) -> float:
    started = time.perf_counter()
    made = sum(1 for _ in itertools.islice(loader, batches))
    return (time.perf_counter() - started) / made


if __name__ == "__main__":
    main()
