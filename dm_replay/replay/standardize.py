"""Standardization: one affine map per channel, from the values of a stream to those that are condensed."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..condensed.coded_set import CodedSet
from ..condensed.condensed_set import CondensedSet
from ..data.pool import TensorPool

__all__ = ["AnySet", "Standardization", "Stored", "to_dtype"]

AnySet = CondensedSet | CodedSet
Stored = TypeVar("Stored", bound=AnySet)

SAMPLE = 2_000  # images; their means are within about a hundredth of a deviation of those of all
# Images at a time, and their pixels. Tensors of less than 32 MiB would be left as holes between the moments kept: of
# 1,500 images of 224 x 224 twice their own size.
CHUNK, PIXELS = 256, 256 * 128 * 128
CONSTANT = 1e-6  # a channel that varies less, relative to its mean, holds rounding errors only


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

    def apply_to_set(self, images: Stored) -> Stored:
        """A set of whole numbers, or of codes, with the same pixels, standing for standardized values."""
        return _mapped(images, 1 / self.std, -self.mean / self.std)

    def undo_set(self, images: Stored) -> Stored:
        """The inverse of :meth:`apply_to_set`."""
        return _mapped(images, self.std, self.mean)


def to_dtype(images: Tensor, dtype: torch.dtype) -> Tensor:
    """Images in the type of a stream's own; integers are rounded and kept within their range, bool is 0.5 and more."""
    if dtype == torch.bool:
        return images >= 0.5
    if not dtype.is_floating_point:
        images = images.round().clamp(torch.iinfo(dtype).min, torch.iinfo(dtype).max)
    return images.to(dtype)


def _mapped(images: Any, gain: Tensor, shift: Tensor) -> Any:
    """The same pixels, standing for gain · x + shift, (C,) each; where stored channels are others, said beside them."""
    if isinstance(images, CodedSet):
        return replace(images, affine=_composed(images.affine, gain, shift))
    if images.scale is None or images.offset is None:
        raise ValueError(f"expected a set stored as uint8, got {images.storage}")
    if images.color == 1:
        return replace(images, scale=images.scale * gain, offset=images.offset * gain + shift)
    return replace(images, affine=_composed(images.affine, gain, shift))


def _composed(affine: Tensor | None, gain: Tensor, shift: Tensor) -> Tensor:
    before = affine if affine is not None else torch.tensor([[1.0], [0.0]]).expand(2, len(gain))
    return torch.stack([before[0] * gain, before[1] * gain + shift])


def _moments(pool: TensorPool, sample: int) -> Iterable[tuple[int, Tensor, Tensor]]:
    """Number of images, variance (C,) and mean (C,) in float64, chunk by chunk."""
    many = min(len(pool), max(1, sample))
    together = min(CHUNK, max(1, PIXELS // math.prod(pool.shape[1:])))
    for rows in torch.linspace(0, len(pool) - 1, many, dtype=torch.float64).long().split(together):
        yield len(rows), *torch.var_mean(pool.take(rows).cpu().double(), (0, 2, 3), correction=0)
