"""Coefficients to whole numbers: which rounding is worth its bits, and which level an image has.

The sum of squared error and :data:`RATE` times the bits is the least that each coefficient can reach by itself, where
it is rounded to the nearest number, to the next smaller one or to zero (rate-distortion optimized quantization).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .entropy import FINEST, WIDEST, bits_of, bits_of_zero, largest, largest_of
from .spectrum import LEVELS, PER_LEVEL, Band

__all__ = ["RATE", "Rounded", "rounded"]

RATE = 0.12  # squared steps that a bit is worth


class Rounded(NamedTuple):
    """A band of N images.

    Attributes:
        numbers: (N, n) int32, in the order of the band's places. levels: (N,) int64. bits: (N,), as the tables give.
    """

    numbers: Tensor
    levels: Tensor
    bits: Tensor


def rounded(coefficients: Tensor, band: Band, rate: Tensor) -> Rounded:
    """Coefficients (N, n) of a band, in steps, as whole numbers.

    Args:
        rate: (N,), what a bit is worth.
    """
    images, places = (coefficients.abs() >= 0.5).nonzero(as_tuple=True)
    sizes = coefficients[images, places].abs().clamp_max(largest(WIDEST))  # whose square is far from float32's end
    tables = band.tables[places] + PER_LEVEL * torch.tensor(LEVELS)[:, None]
    at_levels = _chosen(sizes, tables, rate[images])
    costs, bits = torch.zeros(2, len(LEVELS), len(rate)).index_add_(2, images, torch.stack(at_levels[1:]))
    best = (costs + rate * band.bits_of_zeros[:, None]).argmin(0)
    chosen = at_levels[0].gather(0, best[images][None])[0]
    numbers = torch.zeros_like(coefficients, dtype=torch.int32)
    numbers[images, places] = (chosen * coefficients[images, places].sign()).int()
    return Rounded(numbers, best + LEVELS[0], bits.gather(0, best[None])[0] + band.bits_of_zeros[best])


def _chosen(sizes: Tensor, tables: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best magnitudes for coefficients of sizes (n,) by tables (L, n), their costs, and bits more than zeros take:
    (L, n) each."""
    alive = tables >= FINEST
    tables = tables.clamp(FINEST, WIDEST)
    nearest = torch.minimum((sizes + 0.5).floor(), largest_of(tables))
    zero = bits_of_zero(tables)
    costs, bits, numbers = sizes.square().expand(tables.shape), torch.zeros_like(zero), torch.zeros_like(zero)
    for number in (nearest, nearest - 1):
        more = bits_of(number, tables) - zero
        cost = (sizes - number).square() + rate * more
        better = alive & (number >= 1) & (cost < costs)
        costs, bits = torch.where(better, cost, costs), torch.where(better, more, bits)
        numbers = torch.where(better, number, numbers)
    return numbers, costs, bits
