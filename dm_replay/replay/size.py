"""The size of a memory, in images or in bytes: how images are stored in it, and how many of them."""

from collections.abc import Sequence

from ..condensed.codec import Codec, Shape
from ..runtime.validation import whole_number

__all__ = ["FixedSize", "dealt"]

FLOAT = 4  # bytes


class FixedSize:
    """At most so many stored images, or so many bytes.

    Args:
        mem_size: images in all. mem_bytes: bytes in all, instead. ipc: a fixed number for each group.
        codec: how images are stored, with what it leaves open.

    Raises:
        ValueError: for a size below 1, both sizes or neither, or an ``ipc`` that does not fit.
    """

    def __init__(self, mem_size: int | None, mem_bytes: int | None, ipc: int | None, codec: Codec):
        if (mem_size is None) == (mem_bytes is None):
            raise ValueError(f"give mem_size or mem_bytes, got {mem_size} and {mem_bytes}")
        self.mem_size = None if mem_size is None else whole_number("mem_size", mem_size, 1)
        self.mem_bytes = None if mem_bytes is None else whole_number("mem_bytes", mem_bytes, 1)
        self.ipc = None if ipc is None else whole_number("ipc", ipc, 1)
        if self.ipc is not None and self.mem_size is not None and self.ipc > self.mem_size:
            raise ValueError(f"ipc must lie between 1 and mem_size {mem_size}, got {ipc}")
        self.codec = codec

    @property
    def shape(self) -> Shape | None:
        """(C, H, W) of the images held, if any are."""
        return None

    def fitted(self, shape: Shape) -> Codec:
        """The codec of images (C, H, W). Where images are counted, values have a byte unless it says otherwise."""
        codec = self.codec
        if codec.storage == "auto" and self.mem_bytes is None:
            codec = codec.but(storage="uint8")
        return codec.fit(shape, self.mem_bytes)

    def capacity(self, shape: Shape | None = None) -> int:
        """How many stored images it may hold.

        Args:
            shape: (C, H, W); where bytes are counted and nothing is held yet, it has to be given.

        Raises:
            ValueError: if it is not.
        """
        if self.mem_bytes is None:
            assert self.mem_size is not None
            return self.mem_size
        shape = shape or self.shape
        if shape is None:
            raise ValueError("how many images mem_bytes hold depends on their shape, and none have come yet")
        standardization = 2 * FLOAT * shape[0]
        return max(0, self.mem_bytes - standardization) // self.fitted(shape).nbytes(shape)

    def lengths(self, groups: int, shape: Shape | None = None) -> list[int]:
        """The shares of that many groups in order of arrival.

        Raises:
            ValueError: if they do not fit.
        """
        need, size = groups * (self.ipc or 1), self.capacity(shape)
        if need > size:
            whole = f"mem_size {size}" if self.mem_bytes is None else f"mem_bytes {self.mem_bytes}, of {size} images,"
            more = f": it must be at least {need}" if self.mem_bytes is None else ""
            raise ValueError(f"{whole} cannot hold {groups} classes of {self.ipc or 'at least 1'} images{more}")
        return [self.ipc or -((first - size) // groups) for first in range(groups)]


def dealt(size: int, limits: Sequence[int]) -> list[int]:
    """Shares of ``size`` things that are dealt round, one to each in turn, to nobody more than its limit.

    >>> from dm_replay.replay.size import dealt
    >>> dealt(11, [9, 1, 9, 9])
    [4, 1, 3, 3]
    """
    shares = [0] * len(limits)
    while size and (open_ := [number for number, most in enumerate(limits) if shares[number] < most]):
        each = max(1, size // len(open_))
        for number in open_[:size]:
            given = min(each, limits[number] - shares[number])
            shares[number] += given
            size -= given
    return shares
