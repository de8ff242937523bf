"""Coded: images as the bytes of an entropy coder, each by itself, so that any of them can be dropped."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .checks import expect, rows_of
from .codec import Shape
from .entropy import Plan, Reader, Writer
from .spectrum import LEVEL_TABLE, LEVELS, Spectrum
from .stored import Stored

__all__ = ["Coded", "bytes_of", "code_of", "numbers_of"]

LENGTH = 7  # bits of its length that a byte holds


@dataclass(frozen=True, eq=False)
class Coded(Stored):
    """N images, each of so many bytes as it takes. The length of each is counted.

    Attributes:
        codes: N byte strings. shape: (C, H, W) of the values of each. device: where they are put.
    """

    codes: tuple[bytes, ...]
    shape: Shape
    device: torch.device = torch.device("cpu")

    def __len__(self) -> int:
        return len(self.codes)

    @cached_property
    def costs(self) -> Tensor:  # type: ignore[override]
        return torch.tensor([*map(bytes_of, self.codes)], dtype=torch.int64)

    def select(self, rows: Tensor) -> "Coded":
        return replace(self, codes=tuple(self.codes[row] for row in rows.tolist()))

    def to(self, device: torch.device | str) -> "Coded":
        return replace(self, device=torch.device(device))

    @classmethod
    def join(cls, parts: Sequence["Coded"]) -> "Coded":
        return cls(tuple(code for part in parts for code in part.codes), parts[0].shape, parts[0].device)

    def fields(self) -> dict[str, Tensor]:
        """What is counted: all codes, one behind another, and their lengths, (bytes,) uint8 both."""
        parts = b"".join(self.codes), b"".join(map(_length, self.codes))
        codes, lengths = (torch.from_numpy(np.frombuffer(part, dtype=np.uint8).copy()) for part in parts)
        return {"codes": codes, "lengths": lengths}

    @classmethod
    def of_fields(cls, fields: dict[str, Any], shape: Shape) -> "Coded":
        """The inverse of :meth:`fields`; ValueError for anything else."""
        expect(set(fields) == {"codes", "lengths"}, f"it stores {', '.join(map(str, fields))}")
        size, _ = (rows_of(fields[name], torch.uint8) for name in ("codes", "lengths"))
        lengths = _lengths(fields["lengths"].numpy().tobytes())
        expect(len(lengths) > 0 and sum(lengths) == size, f"{len(lengths)} codes of {sum(lengths)} bytes, not {size}")
        ends, codes = np.cumsum(lengths).tolist(), fields["codes"].numpy().tobytes()
        return cls(tuple(codes[end - length : end] for end, length in zip(ends, lengths, strict=True)), shape)


def bytes_of(code: bytes) -> int:
    """Of a code and its length."""
    return len(code) + max(1, -(-len(code).bit_length() // LENGTH))


def _length(code: bytes) -> bytes:
    """Seven bits in each byte, the lowest first; the eighth says that more follow (LEB128)."""
    left, found = len(code), bytearray()
    while left >> LENGTH:
        found.append(1 << LENGTH | left & (1 << LENGTH) - 1)
        left >>= LENGTH
    return bytes([*found, left])


def _lengths(found: bytes) -> list[int]:
    lengths, place, length = [], 0, 0
    for byte in found:
        length |= (byte & (1 << LENGTH) - 1) << place
        more = byte >> LENGTH
        place = place + LENGTH if more else 0
        expect(place <= 4 * LENGTH, "a code's length is damaged")
        if not more:
            lengths.append(length)
            length = 0
    expect(place == 0, "the last code's length is cut")
    return lengths


LEVEL = Plan.of([(1, LEVEL_TABLE)])


def code_of(numbers: Sequence[np.ndarray], levels: Sequence[int], spectrum: Spectrum) -> bytes:
    """The bytes of an image: for each band its level and then its numbers (n,), in the order of the band's places."""
    writer = Writer()
    for own, level, band in zip(numbers, levels, spectrum.bands, strict=True):
        plan = band.plans[level]
        writer.add(np.array([level], dtype=np.int32), LEVEL)
        writer.add(own[: len(plan.zero)], plan)
    return writer.close()


def numbers_of(code: bytes, spectrum: Spectrum, into: np.ndarray) -> None:
    """Put an image's numbers into zeros (C · H · W,) of int32; what is no image's code gives any numbers."""
    reader = Reader(code)
    for band in spectrum.bands:
        level = min(max(int(reader.take(LEVEL)[0]), LEVELS[0]), LEVELS[-1])
        plan = band.plans[level]
        if plan.runs:
            into[band.order[: len(plan.zero)]] = reader.take(plan)
