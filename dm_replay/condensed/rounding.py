"""Coefficients to whole numbers: which rounding is worth its bits, and which level an image has.

The sum of squared error and :data:`RATE` times the bits is the least that each coefficient can reach by itself, where
it is rounded to the nearest number, to the next smaller one or to zero (rate-distortion optimized quantization).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .entropy import FINEST, WIDEST, bits_of, bits_of_zero, largest, largest_of
from .spectrum import LEVELS, PER_LEVEL, Band

__all__ = ["LEVEL_TABLE", "RATE", "Rounded", "rounded"]

RATE = 0.12  # squared steps that a bit is worth
LEVEL_TABLE = 2


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
    base = band.tables[places]
    found = [_at_level(level, sizes, base, images, band, rate) for level in LEVELS]
    best = torch.stack([costs for costs, _ in found]).argmin(0)
    levels = best + LEVELS[0]
    tables = base + PER_LEVEL * levels[images]
    chosen = _chosen(sizes, tables, rate[images])[0]
    numbers = torch.zeros_like(coefficients, dtype=torch.int32)
    numbers[images, places] = (chosen * coefficients[images, places].sign()).int()
    return Rounded(numbers, levels, torch.stack([bits for _, bits in found]).gather(0, best[None])[0])


def _at_level(
    level: int, sizes: Tensor, base: Tensor, images: Tensor, band: Band, rate: Tensor
) -> tuple[Tensor, Tensor]:
    """What each image costs but for coefficients below 1/2, and its bits, (N,) both."""
    chosen, costs, bits = _chosen(sizes, base + PER_LEVEL * level, rate[images])
    zeros = _coded(band.tables + PER_LEVEL * level)
    table = torch.tensor(LEVEL_TABLE)
    fixed = bits_of_zero(zeros).sum() + (bits_of(torch.tensor(abs(level)), table) if level else bits_of_zero(table))
    total = torch.zeros(2, len(rate)).index_add_(1, images, torch.stack([costs, bits]))
    return total[0] + rate * fixed, total[1] + fixed


def _coded(tables: Tensor) -> Tensor:
    return tables[tables >= FINEST].clamp_max(WIDEST)


def _chosen(sizes: Tensor, tables: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best magnitudes for coefficients of given sizes (n,), their costs, and bits more than those of zeros."""
    alive = tables >= FINEST
    tables = tables.clamp(FINEST, WIDEST)
    nearest = torch.minimum((sizes + 0.5).floor(), largest_of(tables))
    zero = bits_of_zero(tables)
    costs, bits, numbers = sizes.square(), torch.zeros_like(sizes), torch.zeros_like(sizes)
    for number in (nearest, nearest - 1):
        more = bits_of(number, tables) - zero
        cost = (sizes - number).square() + rate * more
        better = alive & (number >= 1) & (cost < costs)
        costs, bits = torch.where(better, cost, costs), torch.where(better, more, bits)
        numbers = torch.where(better, number, numbers)
    return numbers, costs, bits
