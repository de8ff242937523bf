"""K-means: the real images that are nearest to the centers of their class's clusters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..runtime.seeding import derive
from .herding import ByFeatures

__all__ = ["KMeans", "central"]


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
