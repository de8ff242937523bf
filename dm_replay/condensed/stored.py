"""What a codec keeps of images: stored images that can be picked, joined and counted in bytes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["STORAGES", "Packed", "Stored", "dequantize", "quantize"]

STORAGES = {"float32": torch.float32, "float16": torch.float16, "uint8": torch.uint8}
RANGE = 8  # bytes of a channel's scale and offset
Self = TypeVar("Self", bound="Stored")


class Stored(ABC):
    """N stored images, as bytes or numbers that only their codec understands."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def costs(self) -> Tensor:
        """(N,) int64, bytes of all that decoding each of them needs."""

    @property
    def nbytes(self) -> int:
        """Of all."""
        return int(self.costs.sum())

    @abstractmethod
    def select(self: Self, rows: Tensor) -> Self:
        """The stored images of given numbers (M,), in that order."""

    @abstractmethod
    def to(self: Self, device: torch.device | str) -> Self:
        """The same with what lies in tensors on a device."""

    def folded(self: Self, gain: Tensor, shift: Tensor) -> "Self | None":
        """The same for values times ``gain`` (C,) plus ``shift`` (C,), if that costs nothing; else None."""
        return None

    @classmethod
    @abstractmethod
    def join(cls: type[Self], parts: Sequence[Self]) -> Self:
        """All stored images, one part after another."""

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Tensors of N rows, from which the codec's ``stored_of`` makes it again."""


@dataclass(frozen=True, eq=False)
class Packed(Stored):
    """Values as floats, or in bytes with a range for each channel of an image.

    Attributes:
        pixels: (N, C, H, W) float32, float16 or uint8.
        scale, offset: (N, C) float32 where pixels are uint8, else None: value = pixel · scale + offset.
    """

    pixels: Tensor
    scale: Tensor | None = None
    offset: Tensor | None = None

    @classmethod
    def of(cls, values: Tensor, storage: str) -> "Packed":
        """Values (N, C, H, W), in memory of its own."""
        return cls(*quantize(values)) if storage == "uint8" else cls(values.to(STORAGES[storage], copy=True))

    @staticmethod
    def nbytes_of(shape: tuple[int, ...], storage: str) -> int:
        """Bytes of one stored image of values (C, H, W), with a scale and an offset for each channel where it has them.

        >>> from dm_replay.condensed.stored import Packed
        >>> Packed.nbytes_of((3, 32, 32), "uint8"), Packed.nbytes_of((3, 32, 32), "float16")
        (3096, 6144)
        """
        channels, height, width = shape
        of_range = RANGE if storage == "uint8" else 0
        return channels * (height * width * STORAGES[storage].itemsize + of_range)

    def values(self, rows: Tensor) -> Tensor:
        """Stored images of given numbers: (M,) -> (M, C, H, W) float32, a copy."""
        if self.scale is None or self.offset is None:
            return self.pixels[rows].float()
        return dequantize(self.pixels[rows], self.scale[rows], self.offset[rows])

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def costs(self) -> Tensor:
        each = sum(tensor[:1].nbytes for tensor in self._tensors.values())
        return torch.full((len(self),), each)

    def select(self, rows: Tensor) -> "Packed":
        return Packed(**{name: tensor[rows] for name, tensor in self._tensors.items()})

    def to(self, device: torch.device | str) -> "Packed":
        return Packed(**{name: tensor.to(device) for name, tensor in self._tensors.items()})

    def folded(self, gain: Tensor, shift: Tensor) -> "Packed | None":
        if self.scale is None or self.offset is None:
            return None
        return Packed(self.pixels, self.scale * gain, self.offset * gain + shift)

    @classmethod
    def join(cls, parts: Sequence["Packed"]) -> "Packed":
        names = parts[0]._tensors
        return cls(**{name: torch.cat([part._tensors[name] for part in parts]) for name in names})

    def fields(self) -> dict[str, Tensor]:
        return dict(self._tensors)

    @property
    def _tensors(self) -> dict[str, Tensor]:
        named = {"pixels": self.pixels, "scale": self.scale, "offset": self.offset}
        return {name: tensor for name, tensor in named.items() if tensor is not None}


def quantize(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(N, C, H, W) float -> (uint8 pixels, scale, offset), the latter (N, C): each channel's range in 255 steps.

    Values outside the range of real pixels survive; the error is at most half a step, ``scale / 2``.

    >>> import torch
    >>> from dm_replay.condensed.stored import dequantize, quantize
    >>> images = 5 * torch.randn(2, 3, 8, 8)
    >>> pixels, scale, offset = quantize(images)
    >>> bool(((dequantize(pixels, scale, offset) - images).abs() <= 0.51 * scale[:, :, None, None]).all())
    True
    """
    low, high = images.amin((2, 3)).float(), images.amax((2, 3)).float()
    scale = (high - low) / 255
    step = torch.where(scale > 0, scale, torch.ones_like(scale))[:, :, None, None]
    pixels = ((images.float() - low[:, :, None, None]) / step).round().clamp(0, 255).to(torch.uint8)
    return pixels, scale, low


def dequantize(pixels: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    """The inverse of ``quantize``: float32 (N, C, H, W)."""
    return pixels.float() * scale[:, :, None, None] + offset[:, :, None, None]
