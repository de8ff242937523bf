"""Dct: images as few whole numbers, entropy-coded.

A standardized image becomes brightness and two color differences, if it has three channels. A two-dimensional cosine
transform makes of each a few large coefficients and many small ones. These are divided by one step and rounded to whole
numbers, of which small ones take few bits.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .codec import Codec, Shape
from .coded import Coded, code_of, numbers_of
from .color import to_planes, to_rgb
from .rounding import RATE, rounded
from .spectrum import Spectrum

__all__ = ["Dct"]

USUAL = 2.0
TOGETHER = 1 << 22  # values that are rounded at a time


@dataclass(frozen=True)
class Dct(Codec):
    """Images of about a fiftieth of a raw image's bytes, each of so many as it takes.

    Args:
        step: between two values of a coefficient, where images are standardized: the larger, the fewer bytes and the
            rougher the image. 0 takes 2, or what suits the bytes where bytes count.

    Raises:
        ValueError: for a step below 0.

    >>> import torch
    >>> from dm_replay.condensed.dct import Dct
    >>> codec = Dct().fit((3, 32, 32))
    >>> smooth = torch.linspace(-1, 1, 32).expand(5, 3, 32, 32)
    >>> stored = codec.store(codec.encode(smooth))
    >>> stored.nbytes < 5 * 20
    True
    """

    step: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.step < math.inf:
            raise ValueError(f"step must be a number of at least 0, got {self.step!r}")

    def fit(self, shape: Shape, nbytes: int | None = None) -> "Dct":
        return replace(self, step=self.step or USUAL)

    def nbytes(self, shape: Shape) -> int:
        """Bytes that a natural image (C, H, W) takes, about: each of its own takes more or fewer."""
        return 1 + math.ceil(Spectrum.of(self.value_shape(shape), self.fit(shape).step).usual_bits / 8)

    def full(self, shape: Shape) -> bool:
        return True  # what is only made less sharp lacks what rounding does to images, and networks see that

    def value_shape(self, shape: Shape) -> Shape:
        return shape

    def encode(self, images: Tensor) -> Tensor:
        rows, columns = (_cosines(side, images.dtype, images.device) for side in images.shape[2:])
        return rows @ (to_planes(images) if images.shape[1] == 3 else images) @ columns.T

    def decode(self, values: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
        down, across = (_cosines(side, values.dtype, values.device) for side in size)
        planes = down.T @ values[rows] @ across
        return to_rgb(planes) if planes.shape[1] == 3 else planes

    def store(self, values: Tensor) -> Coded:
        shape = values.shape[1], values.shape[2], values.shape[3]
        spectrum = Spectrum.of(shape, self.step)
        parts = values.detach().cpu().float().flatten(1).split(max(1, TOGETHER // math.prod(shape)))
        return Coded(tuple(code for part in parts for code in self._codes(part / self.step, spectrum)), shape)

    @staticmethod
    def _codes(coefficients: Tensor, spectrum: Spectrum) -> list[bytes]:
        rate = torch.full((len(coefficients),), RATE)
        found = [rounded(coefficients[:, band.places], band, rate) for band in spectrum.bands]
        numbers, levels = [band.numbers.numpy() for band in found], [band.levels.tolist() for band in found]
        return [code_of(*image, spectrum) for image in zip(zip(*numbers), zip(*levels), strict=True)]

    def read(self, stored: Any, rows: Tensor) -> Tensor:
        spectrum = Spectrum.of(stored.shape, self.step)
        numbers = np.zeros((len(rows), math.prod(stored.shape)), dtype=np.int32)
        for row, into in zip(rows.tolist(), numbers, strict=True):
            numbers_of(stored.codes[row], spectrum, into)
        return torch.from_numpy(numbers).to(stored.device).mul(self.step).unflatten(1, stored.shape)

    def stored_of(self, fields: dict[str, Any], shape: Shape) -> Coded:
        return Coded.of_fields(fields, self.value_shape(shape))


@lru_cache(maxsize=32)
def _cosines(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, side), orthonormal: each row a wave, the longest first."""
    waves = torch.arange(side, dtype=torch.float64)
    matrix = (torch.pi / side * waves[:, None] * (waves + 0.5)).cos() * (2 / side) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.to(device, dtype)
