"""The size of a memory, in images or in bytes: how images are stored in it, and how many of them."""

from dataclasses import replace

from ..condensed.coded_set import SPAN
from ..condensed.quantize import BITS, check_storage, stored_bytes
from ..matching.config import CondenseConfig
from ..runtime.validation import whole_number
from .kinds import Kind

__all__ = ["FixedSize", "Shape"]

Shape = tuple[int, int, int]


class FixedSize:
    """At most so many stored images, or so many bytes.

    Args:
        mem_size: images in all. mem_bytes: bytes in all, instead. ipc: a fixed number for each group.
        config: how to condense and to store. kind: what the images are.

    Raises:
        ValueError: for a size below 1, both sizes or neither, or an ``ipc`` that does not fit.
    """

    def __init__(
        self, mem_size: int | None, mem_bytes: int | None, ipc: int | None, config: CondenseConfig, kind: Kind
    ):
        if (mem_size is None) == (mem_bytes is None):
            raise ValueError(f"give mem_size or mem_bytes, got {mem_size} and {mem_bytes}")
        self.mem_size = None if mem_size is None else whole_number("mem_size", mem_size, 1)
        self.mem_bytes = None if mem_bytes is None else whole_number("mem_bytes", mem_bytes, 1)
        self.ipc = None if ipc is None else whole_number("ipc", ipc, 1)
        if self.ipc is not None and self.mem_size is not None and self.ipc > self.mem_size:
            raise ValueError(f"ipc must lie between 1 and mem_size {mem_size}, got {ipc}")
        self.config, self.kind = config, kind

    @property
    def shape(self) -> Shape | None:
        """(C, H, W) of the images held, if any are."""
        return None

    def fitted(self, shape: Shape) -> CondenseConfig:
        """How images (C, H, W) are condensed and stored."""
        whole = self.mem_bytes is None or self.kind.coded
        config = self.config if whole else replace(self.config, bytes_per_class=self.mem_bytes)
        config = config.sized(shape)
        return replace(config, bytes_per_class=None, storage=config.storage if config.storage in BITS else "uint8")

    def capacity(self, groups: int, shape: Shape | None = None) -> int:
        """How many stored images it may hold of so many groups.

        Args:
            shape: (C, H, W); where bytes are counted and nothing is held yet, it has to be given.

        Raises:
            ValueError: if it is not, or not even one image fits the bytes.
        """
        if self.mem_bytes is None:
            assert self.mem_size is not None
            return self.mem_size
        shape = shape or self.shape
        if shape is None:
            raise ValueError("how many images mem_bytes hold depends on their shape, and none have come yet")
        config = self.fitted(shape)
        decoder = config.decoder(shape[0])
        ranges = 2 * 4 * shape[0]  # of the standardization, and where channels are stored as others, of each group
        if self.kind.coded:
            return max(0, self.mem_bytes - ranges) // (self.kind.code_bytes(shape) + SPAN)
        spent = ranges * (1 + (groups if decoder.color > 1 else 0))
        each = stored_bytes(decoder.stored_shape(config.condensed_shape(shape)), config.storage)
        return max(0, self.mem_bytes - spent) // each

    def lengths(self, groups: int, shape: Shape | None = None) -> list[int]:
        """The shares of that many groups in order of arrival.

        Raises:
            ValueError: if they do not fit.
        """
        need, size = groups * (self.ipc or 1), self.capacity(groups, shape)
        if need > size:
            whole = f"mem_size {size}" if self.mem_bytes is None else f"mem_bytes {self.mem_bytes}, of {size} images,"
            more = f": it must be at least {need}" if self.mem_bytes is None else ""
            raise ValueError(f"{whole} cannot hold {groups} classes of {self.ipc or 'at least 1'} images{more}")
        return [self.ipc or -((first - size) // groups) for first in range(groups)]

    def tiles(self, shape: Shape) -> int:
        """Training images of a stored one."""
        return 1 if self.kind.coded else self.fitted(shape).decoder(shape[0]).tiles

    def stored_alike(self, other: "FixedSize", shape: Shape) -> bool:
        """Whether images (C, H, W) can go from a memory of this size to one of the other."""
        ours, theirs = (
            (config.storage, config.formation, config.color, config.enlarging)
            for config in (self.fitted(shape), other.fitted(shape))
        )
        return ours == theirs

    def check_shape(self, shape: tuple[int, ...]) -> Shape:
        """The shape (C, H, W), if such images can be stored.

        Raises:
            ValueError: if they cannot.
        """
        channels, height, width = shape
        if self.kind.coded:
            self.kind.code_bytes((channels, height, width))
            return channels, height, width
        config = self.fitted((channels, height, width))
        small = config.condensed_shape((channels, height, width))
        check_storage(config.storage, small[2])
        config.decoder(channels).check(small)
        return channels, height, width
