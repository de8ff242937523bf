"""Where sets lie among the real images: features of a trained network in two dimensions.

    python -m benchmarks.distribution --ipc 50 --iterations 20000
    python -m benchmarks.distribution --quick                     # a minute of condensing; minutes on two cores

A ConvNet is trained on the real images for a while; the features of real images of a few classes and of each method's
training images, in the bytes of ``--ipc`` raw ones, are brought to two dimensions together by t-SNE (scikit-learn's).
Draws results/distribution.png; results/distribution.jsonl has how far the mean features of the sets' classes are from
those of all of their classes' real images, by the latter's mean distance from their mean.
"""

import argparse

import torch
from torch import Tensor, nn

from dm_replay import EvalConfig, TensorPool, load_dataset
from dm_replay.evaluation.trainer import Trainer
from dm_replay.runtime import hardware
from dm_replay.runtime.engine import choose
from dm_replay.runtime.seeding import new_generator

from .grids import settled
from .results import append, pyplot, save_figure
from .sets import made

COLORS = ("#2f6db3", "#d98c3f", "#3fa38c", "#7a3fb3", "#c06a5a")
SHOWN = 40  # training images of each class and method at most, so that the real ones can be seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--ipc", type=int, default=10, help="raw images a class, for the bytes")
    parser.add_argument("--method", nargs="+", default=["random", "paper", "fast"], help="as sets.py has them")
    parser.add_argument("--classes", type=int, default=3, choices=range(1, 6), help="that are shown, from the first on")
    parser.add_argument("--real", type=int, default=500, help="real images of each class that are shown")
    parser.add_argument("--train-steps", type=int, default=2000, help="of 256 real images, of the network")
    parser.add_argument("--quick", action="store_true", help="a minute of condensing, 300 steps of training")
    parser.add_argument("--seconds", type=float, default=180.0, help="of condensing")
    parser.add_argument("--iterations", type=int, help="of condensing, instead of a time; the paper's are 20000")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(seconds=60.0, train_steps=300)
    options = parser.parse_args()
    hardware.keep_memory()
    data = load_dataset(options.dataset)
    network = trained(data.train, options.train_steps)
    labels = data.train.classes[: options.classes]
    real = data.train.draw(labels, options.real, new_generator(0, "shown")).flatten(0, 1)
    groups = {"real": (embedded(network, real), labels.repeat_interleave(options.real))}
    whole = data.train.subset(labels)
    everything = embedded(network, whole.take(torch.arange(len(whole)))), whole.labels
    distances = {}
    same = {"dataset": options.dataset, "ipc": options.ipc, "seed": 0, "learned": "convnet", "epochs": None}
    same |= {"seconds_allowed": options.seconds, "iterations": options.iterations, "steps": options.train_steps}
    for method in options.method:
        (cell,) = settled({**same, "method": method})
        kept = made(cell, data)
        kept = kept.select(torch.isin(kept.labels, labels).nonzero()[:, 0])
        features, own = embedded(network, kept.images), kept.image_labels
        distances[method] = distance(everything, (features, own), labels)
        append("distribution", [{**cell, "classes": options.classes, "distance_of_means": distances[method]}])
        rows = torch.cat([(own == label).nonzero()[:SHOWN, 0] for label in labels])
        groups[method] = features[rows], own[rows]
    draw(groups, labels, distances)


def trained(pool: TensorPool, steps: int) -> nn.Module:
    """A ConvNet after so many steps on a pool."""
    config = EvalConfig(steps=steps).for_images(len(pool)).resolve(pool.flip_invariant)
    engine = choose("cpu", "auto", "auto", pool.shape[1:], steps * config.batch * 3)
    trainer = Trainer("convnet", pool.shape, len(pool.classes), config, engine)
    labels = torch.searchsorted(pool.classes, pool.labels)
    return trainer.train_together(pool.take(torch.arange(len(pool))), labels, seeds=[0])[0]


@torch.no_grad()
def embedded(network: nn.Module, images: Tensor) -> Tensor:
    """Features (N, D) of length 1."""
    features = torch.cat([network.eval().embed(part) for part in images.split(256)])  # type: ignore[operator]
    return features / features.norm(dim=1, keepdim=True)


def distance(real: tuple[Tensor, Tensor], kept: tuple[Tensor, Tensor], labels: Tensor) -> float:
    """Between the mean features of a set's class and of the real one, over the latter's spread; mean of the classes."""
    found = []
    for label in labels:
        of_real, of_set = (features[own == label] for features, own in (real, kept))
        center = of_real.mean(0)
        found.append((of_set.mean(0) - center).norm() / (of_real - center).norm(dim=1).mean())
    return float(torch.stack(found).mean())


def draw(groups: dict[str, tuple[Tensor, Tensor]], labels: Tensor, distances: dict[str, float]) -> None:
    from sklearn.manifold import TSNE

    places = torch.from_numpy(TSNE(random_state=0).fit_transform(torch.cat([f for f, _ in groups.values()]).numpy()))
    parts = dict(zip(groups, places.split([len(own) for _, own in groups.values()]), strict=True))
    size = 3.6 * len(distances), 3.6
    figure, row = pyplot().subplots(1, len(distances), figsize=size, layout="constrained", squeeze=False)
    for axes, method in zip(row[0], distances, strict=True):
        for label, color in zip(labels, COLORS, strict=False):
            of_real, of_set = (parts[name][groups[name][1] == label].T for name in ("real", method))
            axes.scatter(*of_real, s=5, color=color, alpha=0.25, linewidths=0)
            axes.scatter(*of_set, s=36, color=color, marker="*", edgecolors="black", linewidths=0.5)
        axes.set_title(f"{method}: means {distances[method]:.2f} apart", fontsize=9)
        axes.set(xticks=[], yticks=[])
    save_figure(figure, "distribution")


if __name__ == "__main__":
    main()
