"""Whole numbers to few bytes and back: tables of their probability, and a range coder for each image.

A table is that of a rounded Laplace variable; tables are numbered by quarters of an octave of its width. Frequencies
are whole numbers, so that bytes mean the same integers on every machine. The coder is constriction's (Bamler, 2022).
"""

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from constriction import stream
from torch import Tensor

__all__ = [
    "FINEST",
    "WIDEST",
    "Plan",
    "Prices",
    "Reader",
    "Writer",
    "frequencies",
    "largest",
    "mean_bits",
]

FINEST, WIDEST = -16, 56  # numbers of tables; 0 is a width of one step, 4 of two
WEIGHT = 1 << 24  # the sum of a table's frequencies, to rounding
REACH = 15  # widths to either side of zero that a table goes
FARTHEST = 255  # to which every table goes, for images unlike others: beyond its reach at frequency 1
WORD, STATE = 32, 64  # bits of what the coder writes at a time, and of what it holds


LARGEST = tuple(max(FARTHEST, int(REACH * 2 ** (table / 4)) + 1) for table in range(FINEST, WIDEST + 1))


def largest(table: int) -> int:
    """The largest magnitude that a table has a frequency for."""
    return LARGEST[table - FINEST]


def frequencies(table: int) -> np.ndarray:
    """(2 · largest + 1,) float64 whole numbers from 1."""
    width = 2 ** (table / 4)
    magnitude = np.abs(np.arange(-largest(table), largest(table) + 1))
    tail = 0.5 * math.exp(-0.5 / width) * -math.expm1(-1 / width)
    share = np.where(magnitude == 0, -math.expm1(-0.5 / width), tail * np.exp(-(magnitude - 1) / width))
    return np.maximum(np.rint(share * WEIGHT), 1)


@lru_cache(maxsize=WIDEST - FINEST + 1)
def _model(table: int) -> stream.model.Categorical:
    return stream.model.Categorical(frequencies(table).astype(np.float32), perfect=False)


class Prices(NamedTuple):
    """What whole numbers take by some tables, each (…) float32.

    Attributes:
        largest: magnitude that a table has a frequency for. zero: bits of a zero. one: bits of a magnitude of 1, with
            its sign. further: bits more for each further step.
    """

    largest: Tensor
    zero: Tensor
    one: Tensor
    further: Tensor

    @classmethod
    def of(cls, tables: Tensor) -> "Prices":
        """By tables of given numbers (…) int64."""
        return cls(*_prices()[:, tables - FINEST])

    def at(self, *places: Tensor) -> "Prices":
        return Prices(*(part[places] for part in self))

    def bits(self, magnitudes: Tensor) -> Tensor:
        """Of whole numbers of magnitudes from 1."""
        return (self.one + (magnitudes - 1) * self.further).clamp_max(math.log2(WEIGHT))


@lru_cache(maxsize=1)
def _prices() -> Tensor:
    """(4, tables)."""
    widths = torch.exp2(torch.arange(FINEST, WIDEST + 1, dtype=torch.float64) / 4)
    zero = -torch.log2(-torch.expm1(-0.5 / widths))
    one = 1 + 0.5 / widths / math.log(2) - torch.log2(-torch.expm1(-1 / widths))
    return torch.stack([torch.tensor(LARGEST), zero, one, 1 / widths / math.log(2)]).float()


@lru_cache(maxsize=WIDEST - FINEST + 1)
def mean_bits(table: int) -> float:
    """Bits that a number drawn by a table takes on average."""
    share = frequencies(table)
    share /= share.sum()
    return float(-(share * np.log2(share)).sum())


class Plan(NamedTuple):
    """In which order an image's numbers are coded, and by which tables.

    Attributes:
        runs: how many numbers, and their model. zero: (n,) int32, the symbol of each that stands for zero.
    """

    runs: list[tuple[int, stream.model.Categorical]]
    zero: np.ndarray

    @classmethod
    def of(cls, runs: Iterable[tuple[int, int]]) -> "Plan":
        """From how many numbers, and the number of their table.

        >>> from dm_replay.condensed.entropy import Plan
        >>> Plan.of([(2, 0), (1, 40)]).zero.tolist()
        [255, 255, 15361]
        """
        known = list(runs)
        zero = np.repeat([largest(table) for _, table in known], [count for count, _ in known]).astype(np.int32)
        return cls([(count, _model(table)) for count, table in known], zero)


class Writer:
    """The bytes of one image, plan by plan.

    >>> import numpy as np
    >>> from dm_replay.condensed.entropy import Plan, Reader, Writer
    >>> plan, writer = Plan.of([(4, 0)]), Writer()
    >>> writer.add(np.array([0, -1, 0, 2], dtype=np.int32), plan)
    >>> code = writer.close()
    >>> len(code), Reader(code).take(plan).tolist()
    (1, [0, -1, 0, 2])
    """

    def __init__(self) -> None:
        self._coder = stream.queue.RangeEncoder()

    def add(self, numbers: np.ndarray, plan: Plan) -> None:
        """Numbers (n,) of int32, none larger than its table's largest."""
        symbols, place = numbers + plan.zero, 0
        for count, model in plan.runs:
            self._coder.encode(symbols[place : place + count], model)
            place += count

    def close(self) -> bytes:
        """The fewest bytes that, with zeros behind them, lie in the interval of what was added."""
        words, (lower, width) = self._coder.pos()
        sealed = self._coder.get_compressed()
        written = sealed.astype(">u4").tobytes()
        first = (int.from_bytes(written[: words * WORD // 8], "big") << STATE) + lower
        length = words * WORD + STATE
        inside = int.from_bytes(written, "big") << (length - len(sealed) * WORD)
        if first <= inside < first + width:  # else a carry is pending, and the coder's own end is taken
            for kept in range(words * WORD // 8, length // 8 + 1):
                unit = 1 << (length - 8 * kept)
                if -(-first // unit) * unit < first + width:
                    written = (-(-first // unit)).to_bytes(kept, "big")
                    break
        return written.rstrip(b"\0")


class Reader:
    """The numbers in the bytes of a :class:`Writer`, plan by plan. Other bytes give other numbers, or a ValueError."""

    def __init__(self, code: bytes):
        padded = code + b"\0" * (-len(code) % (WORD // 8))
        self._coder = stream.queue.RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))

    def take(self, plan: Plan) -> np.ndarray:
        """The next numbers, (n,) int32.

        Raises:
            ValueError: if no writer wrote these bytes by such plans.
        """
        try:
            found = [self._coder.decode(model, count) for count, model in plan.runs]
        except AssertionError as error:  # constriction's, of bytes that no numbers have
            raise ValueError("the code of an image is damaged") from error
        return np.concatenate(found) - plan.zero
