"""Coefficients to whole numbers: which rounding is worth its bits, and which level an image has.

The sum of squared error and :data:`RATE` times the bits is the least that each coefficient can reach by itself, where
it is rounded to the nearest number, to the next smaller one or to zero (rate-distortion optimized quantization).
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from .codec import Shape
from .entropy import FINEST, WIDEST, Prices, largest
from .spectrum import LEVELS, Band, Spectrum

__all__ = ["RATE", "Rounded", "bits_taken", "coded_places", "in_bands", "kept", "rounded"]

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
    tables = band.distinct[1][places]
    at_levels = _chosen(sizes[:, None], band.prices.at(tables), rate[images, None])[1]
    costs = torch.zeros(len(rate), len(LEVELS)).index_add_(0, images, at_levels)
    best = (costs + rate[:, None] * band.bits_of_zeros).argmin(1)
    chosen, _, more = _chosen(sizes, band.prices.at(tables, best[images]), rate[images])
    numbers = torch.zeros_like(coefficients, dtype=torch.int32)
    numbers[images, places] = (chosen * coefficients[images, places].sign()).int()
    bits = torch.zeros(len(rate)).index_add_(0, images, more)
    return Rounded(numbers, best + LEVELS[0], bits + band.bits_of_zeros[best])


def _chosen(sizes: Tensor, prices: Prices, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best magnitudes for coefficients of these sizes, their costs, and bits more than zeros take."""
    nearest = torch.minimum((sizes + 0.5).floor(), prices.largest)
    costs = sizes.square().expand_as(nearest)
    bits, numbers = torch.zeros_like(nearest), torch.zeros_like(nearest)
    for number in (nearest, nearest - 1):
        more = prices.bits(number) - prices.zero
        cost = (sizes - number).square() + rate * more
        better = (number >= 1) & (cost < costs)
        costs, bits = torch.where(better, cost, costs), torch.where(better, more, bits)
        numbers = torch.where(better, number, numbers)
    return numbers, costs, bits


def in_bands(coefficients: Tensor, spectrum: Spectrum, rate: Tensor) -> list[Rounded]:
    """Coefficients (N, C · H · W), in steps, band by band; the price of a bit (N,)."""
    return [rounded(coefficients[:, band.places], band, rate) for band in spectrum.bands]


def kept(coefficients: Tensor, spectrum: Spectrum) -> Tensor:
    """Coefficients (N, C · H · W), in steps, as whole numbers."""
    found = in_bands(coefficients, spectrum, torch.full((len(coefficients),), RATE))
    numbers = torch.zeros_like(coefficients)
    for band, own in zip(spectrum.bands, found, strict=True):
        numbers[:, band.places] = own.numbers.float()
    return numbers


def bits_taken(coefficients: Tensor, spectrum: Spectrum) -> tuple[Tensor, Tensor]:
    """Bits of coefficients (N, C · H · W), in steps, and of one step more of each: (N,), (N, C · H · W)."""
    found = in_bands(coefficients, spectrum, torch.full((len(coefficients),), RATE))
    each = torch.full_like(coefficients, float(Prices.of(torch.tensor(FINEST)).further))
    for band, own in zip(spectrum.bands, found, strict=True):
        each[:, band.places] = band.prices.further[band.distinct[1]].T[own.levels - LEVELS[0]]
    return torch.stack([own.bits for own in found]).sum(0), each


@lru_cache(maxsize=32)
@torch.inference_mode(False)
def coded_places(shape: Shape, step: float) -> Tensor:
    """(C, H, W), 1 where a value is coded and 0 where it never is."""
    coded = torch.zeros(math.prod(shape))
    for band in Spectrum.of(shape, step).bands:
        coded[band.places] = 1
    return coded.view(shape)
