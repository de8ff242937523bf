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

from ..data.pixels import averaged, within
from ..runtime.settings import check_whole_numbers
from .codec import Codec, Shape
from .coded import Coded, bytes_of, code_of, numbers_of
from .rounding import RATE, bits_taken, coded_places, in_bands, kept
from .spectrum import LEVELS, Spectrum, planes

__all__ = ["Dct"]

STEP = 1.6
# The step where a class has the bytes of one raw image, with a byte for each value, and how it falls with these. It is
# within a point of the best that was tried on CIFAR-10 in the bytes of 1, 4 and 10, in values of a deviation of 1.25.
OF_ONE = 3.0
FALLS = 1 / 3
FINE, ROUGH = 0.5, 6.0
# A memory of more bytes than so many raw images' has finer images, and how the step falls with these. Tried on
# Split-CIFAR100, four epochs each: 1.0 is half a point ahead of 1.6 at 200 images' bytes, 0.8 six points at 1,000.
MANY = 200
FALLS_IN_MEMORIES = 0.43
EMPTY = 5  # bytes of an image of 32 x 32 without detail
HIGHER = 1.5
ROUNDING = 0.7  # of the bits of natural images, those that are left once rounding is weighed
DEAD = 0.65  # of a step: what is nearer to zero is usually not worth its bits
OVERHEAD = 1.4  # bytes of an image's length and end
MOST = 5  # usual images' bytes that an image may take
FEW = 0.1  # of images take fewer bytes than are planned for: too many made cost little, of too few classes lack bytes
TOGETHER = 1 << 21  # values that are rounded at a time


@dataclass(frozen=True)
class Dct(Codec):
    """Images of about a fiftieth of a raw image's bytes, each of so many as it takes.

    Args:
        step: between two values of a coefficient, where images are standardized: the larger, the fewer bytes and the
            rougher the image. 0 takes 1.6, in a memory of more than 200 raw images' bytes less, and of a set whose
            classes have so many bytes what suits these.
        most: bytes of an image; one that would take more is made smoother. 0 takes five times those of a usual one.
        resolution: pixels of the longest side at which images are stored and condensed; larger ones are shrunk by
            averaging before, and enlarged when they are decoded. 0 keeps all whole.

    What no natural image has is cut: a coefficient to 255 steps, or to more where it is a long wave's, if bytes allow.
    So an image of one color comes back at up to 30 standard deviations, of 32 x 32 pixels at up to 100; what is far
    beyond may end lower. Of steps above 1/2, the finest patterns of color are lost.

    Raises:
        ValueError: for a step or bytes below 0.

    >>> import torch
    >>> from dm_replay import Dct
    >>> codec = Dct().fit((3, 32, 32))
    >>> smooth = torch.linspace(-1, 1, 32).expand(5, 3, 32, 32)
    >>> stored = codec.store(codec.encode(smooth))
    >>> stored.nbytes < 5 * 20
    True
    """

    slow = True

    step: float = 0.0
    most: int = 0
    resolution: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, most=0, resolution=0)
        if not 0 <= self.step < math.inf:
            raise ValueError(f"step must be a number of at least 0, got {self.step!r}")

    def fit(self, shape: Shape) -> "Dct":
        """The same with what was left open chosen for images (C, H, W).

        Raises:
            ValueError: for a step too small for such images (below 1/558 for 32 x 32), or bytes that none of them fits.
        """
        step = self.step or STEP
        most, least = self.most or MOST * self.usual_nbytes(shape), _least(self.working_shape(shape), step)
        if most < least:
            raise ValueError(f"most must be 0 or at least {least} bytes for images of {shape}, got {most}")
        return replace(self, step=step, most=most)

    def for_class(self, shape: Shape, nbytes: int) -> "Dct":
        """The fewer bytes, the rougher: where a network is trained on the set alone, more images teach more than
        sharper ones, down to where they blur. Beside sharp current images rough ones lose, so a memory keeps its step.

        Raises:
            ValueError: for less than one byte.

        >>> from dm_replay import Dct
        >>> [round(Dct().for_class((3, 32, 32), nbytes).step, 2) for nbytes in (3_096, 30_960)]
        [2.99, 1.39]
        """
        if nbytes < 1:
            raise ValueError(f"a class needs bytes for its images, got {nbytes}")
        step = OF_ONE * (math.prod(self.working_shape(shape)) / nbytes) ** FALLS
        return self if self.step else replace(self, step=min(max(step, FINE), ROUGH))

    def for_memory(self, shape: Shape, nbytes: int) -> "Dct":
        """The more bytes, the finer, once rougher images would be more than teach anything.

        >>> from dm_replay import Dct
        >>> [round(Dct().for_memory((3, 32, 32), raw * 3_072).step, 2) for raw in (50, 200, 1_000)]
        [1.6, 1.6, 0.8]
        """
        raw = nbytes / math.prod(self.working_shape(shape))
        step = STEP * min(1.0, (MANY / max(raw, 1.0)) ** FALLS_IN_MEMORIES)
        return self if self.step else replace(self, step=max(step, FINE))

    def nbytes(self, shape: Shape) -> int:
        return self.most

    def usual_nbytes(self, shape: Shape) -> int:
        bits = Spectrum.of(self.working_shape(shape), self.step or STEP).usual_bits
        usual = EMPTY + math.ceil(ROUNDING * bits / 8)
        return min(usual, self.most or usual)

    def few_nbytes(self, images: Tensor) -> int:
        return max(1, int(self.store(self._encoded(images)).costs.double().quantile(FEW)))

    def working_shape(self, shape: Shape) -> Shape:
        channels, height, width = shape
        return channels, *(within(height, width, self.resolution) if self.resolution else (height, width))

    def value_shape(self, shape: Shape) -> Shape:
        return self.working_shape(shape)

    def encode(self, images: Tensor) -> Tensor:
        rows, columns = (_cosines(side, images.dtype, images.device) for side in images.shape[2:])
        return rows @ planes(images) @ columns.T

    def _encoded(self, images: Tensor) -> Tensor:
        """Images of any size, shrunk to the one at which they are stored."""
        shape = images.shape[1], images.shape[2], images.shape[3]
        return self.encode(averaged(images, self.working_shape(shape)[1:]))

    def decode(self, values: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
        given = values.shape[2:]
        down, across = (
            _cosines(side, values.dtype, values.device)[:few] for side, few in zip(size, given, strict=True)
        )
        return planes(down.T @ values[rows] @ across * math.sqrt(math.prod(size) / math.prod(given)), back=True)

    def settled(self, values: Tensor) -> Tensor:
        shape = values.shape[-3], values.shape[-2], values.shape[-1]
        steps = values.detach() / self.step
        whole = steps.sign() * (steps.abs() + 1 - DEAD).floor() * coded_places(shape, self.step).to(values)
        return values + (whole * self.step - values.detach())

    def bits(self, values: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = Spectrum.of((values.shape[1], values.shape[2], values.shape[3]), self.step)
        bits, each = zip(*(bits_taken(part / self.step, spectrum) for part in _parts(values)), strict=True)
        taken = (torch.cat(bits) + 8 * OVERHEAD).clamp_max(8 * self.most)
        return taken.to(values), (torch.cat(each) / self.step).view_as(values).to(values)

    def store(self, values: Tensor) -> Coded:
        """Values (N, C, H, W) -> stored images.

        Raises:
            ValueError: if the codec is not fitted to them.
        """
        shape = values.shape[1], values.shape[2], values.shape[3]
        if self.fit(shape) != self or self.working_shape(shape) != shape:
            raise ValueError(f"{self} is not fitted to images of {shape}")
        spectrum = Spectrum.of(shape, self.step)
        codes = tuple(code for part in _parts(values) for code in self._codes(part / self.step, spectrum))
        return Coded(codes, shape, values.device)

    def resample(self, images: Tensor) -> Tensor:
        """Rounded as they would be stored if bytes did not bound an image; what is not finite stays so."""
        values = self._encoded(images)
        spectrum = Spectrum.of((values.shape[1], values.shape[2], values.shape[3]), self.step)
        found = torch.cat([kept(part / self.step, spectrum) for part in _parts(values)]) * self.step
        rows, size = torch.arange(len(values), device=values.device), (images.shape[2], images.shape[3])
        rounded_ones = self.decode(found.to(values).view_as(values), rows, size)
        return torch.where(images.isfinite(), rounded_ones, images)

    def _codes(self, coefficients: Tensor, spectrum: Spectrum) -> list[bytes]:
        """Of images (N, C · H · W) in steps. What takes too many bytes is rounded again, its bits at a higher price.

        This ends: at an infinite price all numbers are zeros of the lowest level, which :func:`_least` knows to fit.
        """
        codes, rows, rate = dict[int, bytes](), torch.arange(len(coefficients)), torch.full((len(coefficients),), RATE)
        while len(rows):
            found = in_bands(coefficients[rows], spectrum, rate[rows])
            numbers, levels = [band.numbers.numpy() for band in found], [band.levels.tolist() for band in found]
            images = zip(zip(*numbers, strict=True), zip(*levels, strict=True), strict=True)
            made = [code_of(*image, spectrum) for image in images]
            codes.update(zip(rows.tolist(), made, strict=True))
            rows = rows[torch.tensor([bytes_of(code) > self.most for code in made])]
            rate[rows] *= HIGHER
        return [codes[row] for row in range(len(codes))]

    def read(self, stored: Any, rows: Tensor) -> Tensor:
        spectrum = Spectrum.of(stored.shape, self.step)
        numbers = np.zeros((len(rows), math.prod(stored.shape)), dtype=np.int32)
        for row, into in zip(rows.tolist(), numbers, strict=True):
            numbers_of(stored.codes[row], spectrum, into)
        return torch.from_numpy(numbers).to(stored.device).mul(float(self.step)).unflatten(1, stored.shape)

    def stored_of(self, fields: dict[str, Any], shape: Shape) -> Coded:
        return Coded.of_fields(fields, self.value_shape(shape))


def _parts(values: Tensor) -> tuple[Tensor, ...]:
    """Values (N, C, H, W), as many images at a time as memory bears: (n, C · H · W) each, float32 on the CPU."""
    return values.detach().cpu().float().flatten(1).split(max(1, TOGETHER // math.prod(values.shape[1:])))


@lru_cache(maxsize=64)
def _least(shape: Shape, step: float) -> int:
    """Bytes of an image (C, H, W) of zeros at the lowest level."""
    spectrum = Spectrum.of(shape, step)
    zeros = [np.zeros(len(band.places), dtype=np.int32) for band in spectrum.bands]
    return bytes_of(code_of(zeros, [LEVELS[0]] * len(zeros), spectrum))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # kept, and others may need gradients
def _cosines(side: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(side, side), orthonormal: each row a wave, the longest first."""
    waves = torch.arange(side, dtype=torch.float64)
    matrix = (torch.pi / side * waves[:, None] * (waves + 0.5)).cos() * (2 / side) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.to(device, dtype)
