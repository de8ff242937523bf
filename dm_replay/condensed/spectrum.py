"""How large the coefficients of an image are: of natural images, standardized, at every size nearly the same.

Measured on CIFAR-10, TinyImageNet and Imagenette at 32 to 224 pixels. Each image says by a level for its brightness and
one for its color by how much its own are larger or smaller.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .codec import Shape
from .entropy import FINEST, WIDEST, Plan, Prices, mean_bits

__all__ = ["LEVELS", "LEVEL_TABLE", "PER_LEVEL", "Band", "Spectrum", "planes"]

# Waves across an image along both sides together, and the width of the table that takes the fewest bits for such
# coefficients of brightness and of the two color differences: in quarters of an octave, for sides of 32 pixels and a
# step of 1. Fitted to coefficients as they are rounded in steps of 1.6.
WAVES = (0, 1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 62, 90, 126, 180, 252)
SIZES = (
    (20, 16, 14, 11, 10, 7, 5, 3, -1, -4, -8, -11, -14, -17, -21, -24, -28),
    (15, 7, 6, 2, 1, -3, -5, -8, -11, -15, -20, -25, -29, -33, -36, -38, -40),
    (10, 2, 1, -3, -4, -7, -9, -12, -16, -20, -25, -29, -33, -36, -38, -40, -42),
)
REFERENCE = 32  # pixels
# By the bytes of photographs at 32 to 224 pixels. Larger ones have more in waves of each number than their size alone
# gives, by half as much again. Standardized channels have in their common brightness three times the variance of one.
COLOR, GREY = 1, 5  # quarters of an octave that they are smaller by at 32 pixels
LEVELS = range(-8, 8)
LEVEL_TABLE = 2
PER_LEVEL = 2  # quarters of an octave
PER_RUN = 3  # likewise, between tables of a level: a third of the calls for 0.3 % more bytes than 1
# Brightness and two color differences of red, green and blue: an orthonormal map.
PLANES = ((3**-0.5, 3**-0.5, 3**-0.5), (2**-0.5, 0.0, -(2**-0.5)), (6**-0.5, -2 * 6**-0.5, 6**-0.5))


@dataclass(frozen=True, eq=False)
class Band:
    """Planes of one level: their coefficients, the larger ones first.

    Attributes:
        places: (n,) int64, numbers among the values of an image. tables: (n,) int64, at level 0.
    """

    places: Tensor
    tables: Tensor

    @cached_property
    def order(self) -> np.ndarray:
        return self.places.numpy()

    @cached_property
    def distinct(self) -> tuple[Tensor, Tensor, Tensor]:
        """The tables that occur, (T,), which of them each place has, (n,), and how many places have each, (T,)."""
        found, which, many = self.tables.unique(return_inverse=True, return_counts=True)
        return found, which, many

    @cached_property
    def prices(self) -> Prices:
        """By each table that occurs, at each level, (T, 16); one finer than the finest holds nothing but zeros."""
        tables = self.distinct[0][:, None] + PER_LEVEL * torch.tensor(LEVELS)
        known, some = Prices.of(tables.clamp(FINEST, WIDEST)), tables >= FINEST
        return known._replace(largest=known.largest * some, zero=known.zero * some)

    @cached_property
    def bits_of_zeros(self) -> Tensor:
        """Of each level and an image whose numbers are all zero by it, (16,)."""
        table = Prices.of(torch.tensor(LEVEL_TABLE))
        own = [table.bits(torch.tensor(abs(level))) if level else table.zero for level in LEVELS]
        return self.distinct[2].float() @ self.prices.zero + torch.stack(own)

    @cached_property
    def plans(self) -> dict[int, Plan]:
        """How the beginning of the coefficients is coded at each level; all others are zero."""
        runs = Counter(self.tables.tolist())
        at = {level: [(count, table + PER_LEVEL * level) for table, count in runs.items()] for level in LEVELS}
        return {
            level: Plan.of((count, min(table, WIDEST)) for count, table in own if table >= FINEST)
            for level, own in at.items()
        }


class Spectrum(NamedTuple):
    """The bands of images of one shape.

    Attributes:
        usual: quarters of an octave by which coefficients of natural images are larger than the bands' tables say.
    """

    bands: tuple[Band, ...]
    usual: int

    @classmethod
    def of(cls, shape: Shape, step: float) -> "Spectrum":
        """Of images (C, H, W) whose coefficients are counted in steps; the same on every machine.

        Raises:
            ValueError: if the step is so small that usual images have coefficients which no table holds.
        """
        return _spectrum(shape, step)

    @property
    def usual_bits(self) -> float:
        """Of a natural image, about."""
        tables = torch.cat([band.tables for band in self.bands]) + self.usual
        runs = Counter(tables[tables >= FINEST].clamp_max(WIDEST).tolist())
        return sum(many * mean_bits(table) for table, many in runs.items())


@lru_cache(maxsize=8)  # of 224 x 224 pixels each takes some 10 MB
def _spectrum(shape: Shape, step: float) -> Spectrum:
    if not step:
        raise ValueError("a step of 0 is one that has not been chosen: fit the codec first")
    channels, height, width = shape
    longest = max(height, width)
    larger = _quarters(Fraction(longest, REFERENCE))
    shift = larger - _quarters(Fraction(step))
    if SIZES[0][0] + shift > WIDEST:
        raise ValueError(f"a step of {step} is too small for images of {shape}")
    rows, columns = (np.arange(side) * longest // side for side in (height, width))
    waves = rows[:, None] + columns[None]
    planes = [[0], [1, 2]] if channels == 3 else [list(range(channels))]
    usual = int(larger / 2) - (COLOR if channels == 3 else GREY)
    return Spectrum(tuple(_band(own, waves, shift, channels == 3) for own in planes), usual)


def _band(planes: list[int], waves: np.ndarray, shift: int, color: bool) -> Band:
    tables = np.concatenate([_size(waves, SIZES[plane if color else 0]).ravel() + shift for plane in planes])
    tables = np.minimum((tables + PER_RUN // 2) // PER_RUN * PER_RUN, WIDEST)
    order = np.argsort(-tables, kind="stable")
    order = order[tables[order] + PER_LEVEL * LEVELS[-1] >= FINEST]
    return Band(torch.from_numpy(order + planes[0] * waves.size), torch.from_numpy(tables[order]))


def _size(waves: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Between two that are known, straight lines, rounded down."""
    last = len(WAVES) - 2
    after = np.clip(np.searchsorted(WAVES, waves, side="right") - 1, 0, last)
    known, low = np.array(WAVES), np.array(sizes)
    return low[after] + (low[after + 1] - low[after]) * (waves - known[after]) // (known[after + 1] - known[after])


def _quarters(ratio: Fraction) -> int:
    """Four times the binary logarithm of a ratio above 0, to the nearest whole number, without rounding before."""
    eighth, number = ratio**8, 0
    while eighth >= Fraction(2) ** (2 * number + 1):
        number += 1
    while eighth < Fraction(2) ** (2 * number - 1):
        number -= 1
    return number


def planes(images: Tensor, back: bool = False) -> Tensor:
    """Images (N, 3, H, W) as :data:`PLANES`, or back; of other channels as they are."""
    if images.shape[1] != 3:
        return images
    matrix = _map_to_planes(images.dtype, images.device)
    return ((matrix.T if back else matrix) @ images.flatten(2)).view_as(images)


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # kept, and others may need gradients
def _map_to_planes(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: a CUDA graph cannot hold a tensor that is made of host data."""
    return torch.tensor(PLANES, dtype=dtype, device=device)
