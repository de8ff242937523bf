"""Files written whole or not at all, that know their own checksum."""

import contextlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch

__all__ = ["atomic", "blocks_of", "checksum", "is_sealed", "load_sealed", "save_sealed"]


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path`` in one step.

    Whatever is raised inside (a full disk, Ctrl-C) removes the temporary file and leaves ``path`` as it was.
    The temporary file keeps the suffix, for writers that choose a format by it.

    >>> from pathlib import Path
    >>> from dm_replay.runtime.files import atomic
    >>> with atomic("note.txt") as temporary:
    ...     size = temporary.write_text("whole or not at all")
    >>> Path("note.txt").read_text()
    'whole or not at all'
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


LABEL = b"crc32:"
DIGITS = 8
BLOCK = 2**20  # bytes read at a time


def save_sealed(content: dict[str, Any], path: str | Path) -> None:
    """Write tensors and plain values with a checksum, whole or not at all.

    Raises:
        OSError: if the disk is full, or the file cannot be written.

    >>> import torch
    >>> from dm_replay.runtime.files import load_sealed, save_sealed
    >>> save_sealed({"pixels": torch.zeros(2), "seed": 3}, "content.pt")
    >>> load_sealed("content.pt")["seed"]
    3
    """
    try:
        with atomic(path) as temporary:
            torch.save(content, temporary)
            _seal(temporary)
    except RuntimeError as error:  # torch's, about the archive's inside
        raise OSError(f"cannot write {path}; is the disk full?") from error


def load_sealed(path: str | Path) -> Any:
    """Read what :func:`save_sealed` wrote, onto the CPU. Runs no code.

    Raises:
        ValueError: if the file is missing, damaged, has no checksum, or holds other than tensors and plain values.
    """
    if not is_sealed(path):
        raise ValueError(f"{path} is damaged, or was not written by dm_replay: it has no checksum")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a crafted file makes of it
        raise ValueError(f"{path} is not readable ({type(error).__name__} while reading it)") from error


def is_sealed(path: str | Path) -> bool:
    """Whether a file ends in a checksum.

    Raises:
        ValueError: if it is missing, or its checksum is not that of its content.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END) - DIGITS
        file.seek(max(0, size - len(LABEL)))
        if file.read(len(LABEL)) != LABEL:
            return False
        digits = file.read()
        file.seek(0)
        if digits != _digits(checksum(blocks_of(file, size))):
            raise ValueError(f"{path} is damaged: its checksum is not that of its content")
    return True


def checksum(blocks: Iterable[bytes | memoryview], begin: int = 0) -> int:
    """CRC-32 of bytes in turn: it finds any flipped bit, and other damage but for one case in four billion."""
    for block in blocks:
        begin = zlib.crc32(block, begin)
    return begin


def blocks_of(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The next ``size`` bytes of an open file, 1 MiB at a time."""
    while size > 0 and (block := file.read(min(BLOCK, size))):
        size -= len(block)
        yield block


def _seal(file: Path) -> None:
    with open(file, "rb+") as written:
        written.seek(-2, os.SEEK_END)  # an archive ends in the length of its comment
        written.write((len(LABEL) + DIGITS).to_bytes(2, "little") + LABEL)
        size = written.tell()
        written.seek(0)
        digits = _digits(checksum(blocks_of(written, size)))
        written.seek(size)
        written.write(digits)


def _digits(value: int) -> bytes:
    return b"%08x" % value
