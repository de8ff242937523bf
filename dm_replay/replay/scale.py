"""Whether images come in the scale of those that a memory holds."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..data.pool import TensorPool
from .standardize import AnySet, Standardization

__all__ = ["check_scale"]

# Between single images of MNIST, FashionMNIST, CIFAR-10 and digits deviation and magnitude together differ by factors
# up to 5.2, between classes up to 1.6; between pixels from 0 to 255 and from 0 to 1 by 255.
FACTOR = 32
LOOK = 256  # images


def check_scale(known: Standardization, held: Sequence[AnySet], pools: Iterable[TensorPool]) -> None:
    """ValueError if deviation and magnitude of the pools' images are both far from those that a memory began with.

    That is more than :data:`FACTOR` times as much or as little in every channel that varies: a darker, flatter or
    constant domain is none. Pixels in bytes normalized as those held are always in their scale.
    """
    pools = list(pools)
    if held and all(_declared_alike(pool, held[0]) for pool in pools):
        return
    came = Standardization.fit(pools, LOOK)
    tells = (known.std != 1) & (came.std != 1)  # that of a constant channel is 1
    ratios = torch.stack([came.std / known.std, _magnitude(came) / _magnitude(known)])[:, tells]
    if ratios.numel() and (bool((ratios > FACTOR).all()) or bool((ratios < 1 / FACTOR).all())):
        raise ValueError(
            f"the images have a mean of {came.mean.mean():.3g} and a deviation of {came.std.mean():.3g}, those of the "
            f"memory {known.mean.mean():.3g} and {known.std.mean():.3g}: give all of a stream in one scale"
        )


def _declared_alike(pool: TensorPool, held: AnySet) -> bool:
    own = {"mean": pool.mean, "std": pool.std}
    return pool.images.dtype == torch.uint8 and all(
        values is not None and list(values) == held.meta.get(name) for name, values in own.items()
    )


def _magnitude(space: Standardization) -> Tensor:
    return (space.mean**2 + space.std**2).sqrt()
