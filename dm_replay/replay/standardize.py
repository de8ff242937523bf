"""Standardization: one affine map per channel, from the values of a stream to those that are condensed."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool

__all__ = ["Standardization", "check_scale", "to_dtype"]

SAMPLE = 2_000  # images; their means are within about a hundredth of a deviation of those of all
# Images at a time, and their pixels. Tensors of less than 32 MiB would be left as holes between the moments kept: of
# 1,500 images of 224 x 224 twice their own size.
CHUNK, PIXELS = 256, 256 * 128 * 128
CONSTANT = 1e-6  # a channel that varies less, relative to its mean, holds rounding errors only
# Between single images of MNIST, FashionMNIST, CIFAR-10 and digits deviation and magnitude together differ by factors
# up to 5.2, between classes up to 1.6; between pixels from 0 to 255 and from 0 to 1 by 255.
FACTOR = 32
LOOK = 256  # images


@dataclass(frozen=True, eq=False)
class Standardization:
    """(x − mean) / std per channel; learning rate and augmentation mean the same whatever scale a stream comes in.

    Attributes:
        mean, std: (C,) float32.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def fit(cls, pools: Iterable[TensorPool], sample: int | None = None) -> "Standardization":
        """Mean and standard deviation of every channel, of at most ``sample`` images spread over the pools.

        It is :data:`SAMPLE` by default.

        A constant channel is only shifted.
        """
        pools = list(pools)
        counts, variances, means = zip(
            *(part for pool in pools for part in _moments(pool, (sample or SAMPLE) // len(pools))), strict=True
        )
        weights = torch.tensor(counts, dtype=torch.float64)[:, None] / sum(counts)
        mean = (weights * torch.stack(means)).sum(0)
        std = (weights * (torch.stack(variances) + (torch.stack(means) - mean) ** 2)).sum(0).sqrt()
        std = torch.where(std > CONSTANT * mean.abs(), std, 1.0)
        return cls(mean.float(), std.float())

    @property
    def nbytes(self) -> int:
        return self.mean.nbytes + self.std.nbytes

    def to(self, device: torch.device | str) -> "Standardization":
        return Standardization(self.mean.to(device), self.std.to(device))

    def apply(self, images: Tensor) -> Tensor:
        """A stream's images (N, C, H, W) -> standardized ones."""
        return (images - self.mean[:, None, None]) / self.std[:, None, None]

    def undo(self, images: Tensor) -> Tensor:
        """The inverse of :meth:`apply`."""
        return images * self.std[:, None, None] + self.mean[:, None, None]

    def apply_to_pool(self, pool: TensorPool) -> TensorPool:
        """The same pool with standardized values; the pixels are shared."""
        return pool.standardized(self.mean.tolist(), self.std.tolist())

    def leave(self, images: ImageSet) -> ImageSet:
        """A set of standardized values in those of the stream, at no cost: it is mapped when it is decoded."""
        return images.with_affine(self.std, self.mean)


def to_dtype(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images in the type of a stream's own; integers are rounded and kept within their range, bool is 0.5 and more."""
    if dtype == torch.bool:
        return images >= 0.5
    if not dtype.is_floating_point:
        images = images.round().clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return images.to(dtype)


def check_scale(known: Standardization, held: Sequence[ImageSet], pools: Iterable[TensorPool]) -> None:
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


def _declared_alike(pool: TensorPool, held: ImageSet) -> bool:
    own = {"mean": pool.mean, "std": pool.std}
    return pool.images.dtype == torch.uint8 and all(
        values is not None and list(values) == held.meta.get(name) for name, values in own.items()
    )


def _magnitude(space: Standardization) -> Tensor:
    return (space.mean**2 + space.std**2).sqrt()


def _moments(pool: TensorPool, sample: int) -> Iterable[tuple[int, Tensor, Tensor]]:
    """Number of images, variance (C,) and mean (C,) in float64, chunk by chunk."""
    many = min(len(pool), max(1, sample))
    together = min(CHUNK, max(1, PIXELS // math.prod(pool.shape[1:])))
    for rows in torch.linspace(0, len(pool) - 1, many, dtype=torch.float64).long().split(together):
        yield len(rows), *torch.var_mean(pool.take(rows).cpu().double(), (0, 2, 3), correction=0)
