"""K-means: the real images that are nearest to the centers of their class's clusters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..condensed.codec import Shape
from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool
from ..networks import check_buildable, parse
from ..runtime.seeding import derive
from .herding import MEMORY_BUDGET, by_class, features_of, random_embedding
from .reducer import Budget, Reducer

__all__ = ["KMeans", "central"]


@dataclass(frozen=True)
class KMeans(Reducer):
    """Of as many clusters of a class's features, the real images nearest to the centers, larger clusters first.

    Args:
        network: the random embedding, whose features are scaled to length 1. memory_budget: GiB of its activations.

    >>> from dm_replay import Budget, KMeans, load_dataset
    >>> KMeans("convnet:width=8").reduce(load_dataset("digits").train, Budget(2), seed=0).labels[:4].tolist()
    [0, 0, 1, 1]
    """

    network: str = "convnet"
    memory_budget: float = MEMORY_BUDGET

    def __post_init__(self) -> None:
        super().__post_init__()
        parse(self.network)

    def reduce(self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None = None) -> ImageSet:
        budget = budget.fit(pool)
        budget.check_enough(pool, previous)
        embed = random_embedding(pool, self.network, seed, self.memory_budget)

        def nearest(rows: Tensor) -> Tensor:
            count = min(budget.images, len(rows))
            taken = rows[central(features_of(pool, rows, embed), count, derive(seed, "kmeans"))]
            return taken[torch.arange(budget.images) % count]

        return budget.store_rows(pool, by_class(pool, nearest), seed)

    def check(self, shape: Shape) -> None:
        check_buildable(self.network, shape)


def central(features: Tensor, count: int, seed: int = 0) -> Tensor:
    """Numbers (count,) of rows of features (N, D), each the nearest to a center of k-means that is not taken yet.

    >>> import torch
    >>> from dm_replay.coresets.kmeans import central
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
