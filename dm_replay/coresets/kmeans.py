"""K-means: the real images that are nearest to the centers of their class's clusters."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..condensed.condensed_set import CondensedSet
from ..data.pool import TensorPool
from ..runtime.seeding import derive
from .config import ExemplarConfig
from .herding import by_class, features_of, random_embedding
from .random import chosen

__all__ = ["central", "kmeans_exemplars"]


def kmeans_exemplars(
    pool: TensorPool,
    config: ExemplarConfig | None = None,
    *,
    seed: int = 0,
    embed: Callable[[Tensor], Tensor] | None = None,
) -> CondensedSet:
    """``config.ipc`` real images of every class: of as many clusters of its features, those nearest to the centers.

    Those of larger clusters come first. With a formation f, f² · ipc are chosen and shrunk.

    Args:
        embed: normalized images (N, C, H, W) -> features (N, D), as of a trained network; by default of a random
            ``config.network``. Features are scaled to length 1.

    Raises:
        ValueError: if a class has fewer images, or the images are too small for the formation.

    >>> from dm_replay import load_dataset
    >>> from dm_replay.coresets.config import ExemplarConfig
    >>> from dm_replay.coresets.kmeans import kmeans_exemplars
    >>> config = ExemplarConfig(2, network="convnet:width=8")
    >>> kmeans_exemplars(load_dataset("digits").train, config).labels[:4].tolist()
    [0, 0, 1, 1]
    """
    embed = embed or random_embedding(pool, (config or ExemplarConfig()).network, seed)

    def of_class(rows: Tensor, each: int) -> Tensor:
        return rows[central(features_of(pool, rows, embed), each, derive(seed, "kmeans"))]

    return chosen(pool, config, seed, lambda each: by_class(pool, lambda rows: of_class(rows, each)))


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
