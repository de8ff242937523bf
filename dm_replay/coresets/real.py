"""Real images: random, herded (Welling 2009; Rebuffi et al., 2017), and nearest to the centers of k-means."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..condensed.codec import Shape
from ..condensed.image_set import ImageSet
from ..data.classes import ClassShard
from ..data.pool import TensorPool
from ..networks import activation_values, build_network, check_buildable, parse
from ..runtime.engine import GIB
from ..runtime.seeding import derive, new_generator
from ..runtime.stages import counted
from .reducer import Budget, ByShare, Reducer, Work

__all__ = [
    "ByFeatures",
    "Herding",
    "KMeans",
    "Random",
    "central",
    "features_of",
    "herd",
    "herded",
    "random_embedding",
]


@dataclass(frozen=True)
class Random(ByShare):
    """Random real images, the baseline of condensation.

    >>> from dm_replay import Budget, Random, Tiles, load_dataset
    >>> shrunk = Random().reduce(load_dataset("digits").train, Budget(2, Tiles(tiles=2)), seed=0)
    >>> len(shrunk), shrunk.decoded
    (20, 80)
    """

    def share(
        self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None, work: Work
    ) -> ImageSet | None:
        """What is drawn of a class does not depend on the process."""
        budget = budget.fit(pool)
        budget.check_enough(pool, previous)
        if not len(pool.classes[work.part]):
            return None
        shard = ClassShard(pool.classes, work.part)
        rows = pool.rows_of(shard).draw(budget.images, new_generator(seed, "random"))
        mine = pool.of_classes(shard.mine)
        return budget.store_rows(pool.select(mine), torch.searchsorted(mine, rows), seed)


MEMORY_BUDGET = 4.0  # GiB, that of a condensation by default
CHUNK = 64  # images embedded at a time, as many as the cache holds
# Products of all rows with all, at once, where of ten rows one or more are taken: 1,060 of 4,240 with 2,048 features on
# two AVX-512 cores 0.5 instead of 1.8 s; 200 of 5,000 0.6 instead of 0.4 s.
ROWS_PER_PRODUCT = 10
MOST_ROWS = 10_000  # whose products take 400 MB


@dataclass(frozen=True)
class ByFeatures(Reducer):
    """Real images of each class, chosen by their features in a random network, which are scaled to length 1.

    Args:
        network: the random embedding. memory_budget: GiB of its activations.
    """

    network: str = "convnet"
    memory_budget: float = MEMORY_BUDGET

    def __post_init__(self) -> None:
        super().__post_init__()
        parse(self.network)

    @abstractmethod
    def choose(self, features: Tensor, count: int, seed: int) -> Tensor:
        """Numbers (count,) of rows of features (N, D), the best first."""

    def reduce(self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None = None) -> ImageSet:
        budget = budget.fit(pool)
        budget.check_enough(pool, previous)
        small = pool.shrunk(*budget.codec.working_shape(pool.shape)[1:])
        embed = random_embedding(small, self.network, seed, self.memory_budget)

        def chosen(rows: Tensor) -> Tensor:
            count = min(budget.images, len(rows))
            order = rows[self.choose(features_of(small, rows, embed), count, seed)]
            return order[torch.arange(budget.images) % count]

        labels = counted("choosing images", pool.classes, len(pool.classes))
        rows = torch.stack([chosen((pool.labels == label).nonzero()[:, 0]) for label in labels])
        return budget.store_rows(pool, rows, seed)

    def check(self, shape: Shape) -> None:
        check_buildable(self.network, shape)


@dataclass(frozen=True)
class Herding(ByFeatures):
    """Images each chosen so that the mean feature of all so far is its class's.

    The order is the order of choice, so a prefix is itself herded.

    >>> from dm_replay import Budget, Herding, load_dataset
    >>> Herding("convnet:width=8").reduce(load_dataset("digits").train, Budget(2), seed=0).labels[:4].tolist()
    [0, 0, 1, 1]
    """

    def choose(self, features: Tensor, count: int, seed: int) -> Tensor:
        return herd(features, count)


def herded(pool: TensorPool, rows: Tensor, count: int, embed: Callable[[Tensor], Tensor]) -> Tensor:
    """``count`` of a pool's rows (N,), in the order in which herding takes them; where they are fewer, in turns."""
    order = rows[herd(features_of(pool, rows, embed), min(count, len(rows)))]
    return order[torch.arange(count) % len(order)]


def herd(features: Tensor, count: int) -> Tensor:
    """Numbers (count,) of rows of features (N, D), in the order in which herding takes them.

    Each next one brings the mean of those taken closest to the mean of all; none is taken twice.

    >>> import torch

    >>> from dm_replay.coresets.real import herd
    >>> herd(torch.tensor([[0.0], [1.0], [2.0], [7.0]]), 2)  # the mean is 2.5
    tensor([2, 1])
    """
    centered = features - features.mean(0)
    lengths, to_total, free = centered.square().sum(1), torch.zeros(len(features)), torch.zeros(len(features))
    products, taken = _products(centered, count), []
    for _ in range(count):
        taken.append(int((lengths + 2 * to_total + free).argmin()))
        free[taken[-1]] = torch.inf
        to_total = to_total + products(taken[-1])
    return torch.tensor(taken)


def _products(features: Tensor, count: int) -> Callable[[int], Tensor]:
    """A row's products with all rows (N,), by number; all of them at once where so many are asked for that it pays."""
    rows = len(features)
    if rows <= MOST_ROWS and count * ROWS_PER_PRODUCT >= rows:
        return (features @ features.T).__getitem__
    return lambda number: features @ features[number]


def random_embedding(
    pool: TensorPool, network: str, seed: int, memory_budget: float = MEMORY_BUDGET
) -> Callable[[Tensor], Tensor]:
    """The features of a random network, where the pool's pixels are, of as many images at a time as the budget allows.

    Args:
        memory_budget: GiB of activations.
    """
    built = build_network(network, pool.shape, 1, seed=derive(seed, "herding")).eval()
    built = built.to(pool.device).to(memory_format=torch.channels_last)
    each = activation_values(network, pool.shape).forward * torch.float32.itemsize
    together = max(1, int(memory_budget * GIB / each))

    def embed(images: Tensor) -> Tensor:
        parts = images.contiguous(memory_format=torch.channels_last).split(together)
        return torch.cat([built.embed(part) for part in parts])

    return embed


@torch.no_grad()
def features_of(pool: TensorPool, rows: Tensor, embed: Callable[[Tensor], Tensor]) -> Tensor:
    """Features of length 1 of a pool's rows, (N, D) on the CPU."""
    features = torch.cat([embed(pool.take(part)).float().cpu() for part in rows.split(CHUNK)])
    return features / features.norm(dim=1, keepdim=True).clamp_min(1e-12)


@dataclass(frozen=True)
class KMeans(ByFeatures):
    """Of as many clusters of a class's features, the images nearest to the centers, larger clusters first.

    >>> from dm_replay import Budget, KMeans, load_dataset
    >>> KMeans("convnet:width=8").reduce(load_dataset("digits").train, Budget(2), seed=0).labels[:4].tolist()
    [0, 0, 1, 1]
    """

    def choose(self, features: Tensor, count: int, seed: int) -> Tensor:
        return central(features, count, derive(seed, "kmeans"))


def central(features: Tensor, count: int, seed: int = 0) -> Tensor:
    """Numbers (count,) of rows of features (N, D), each the nearest to a center of k-means that is not taken yet.

    >>> import torch

    >>> from dm_replay.coresets.real import central
    >>> central(torch.tensor([[0.0], [1.0], [2.5], [3.0], [7.0], [8.0], [9.5]]), 2)  # centers at 1.625 and 8.17
    tensor([1, 5])
    """
    from sklearn.cluster import KMeans

    found = KMeans(count, n_init=1, random_state=seed % 2**32).fit(features.numpy())
    centers, sizes = torch.from_numpy(found.cluster_centers_), torch.from_numpy(found.labels_).bincount(minlength=count)
    distances, taken = torch.cdist(centers.float(), features), []
    for center in sizes.argsort(descending=True, stable=True):
        taken.append(int(distances[center].argmin()))
        distances[:, taken[-1]] = torch.inf
    return torch.tensor(taken)
