"""Files written whole or not at all, files that know their own checksum, and folders that one process has at a time."""

import contextlib
import errno
import json
import os
import socket
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import torch
from filelock import FileLock, Timeout

__all__ = ["atomic", "blocks_of", "check_free", "checksum", "is_sealed", "load_sealed", "locked", "save_sealed"]

LABEL = b"crc32:"
DIGITS = 8
BLOCK = 2**20  # bytes read at a time
LOCK = ".lock"
HOLDER = "process {pid} on {host} since {since}"
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # on file systems that have no locks
ATTEMPTS = 100  # at a file that others remove as they finish; each takes microseconds


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
        os.umask(mask := os.umask(0))  # asked for by setting another
        temporary.chmod(0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be, and removed again if nothing was written to it.

    The lock is the system's own on the file ``.lock`` in the folder, so it ends with its process, however and wherever
    that ends. The file says who holds it; what a killed process left of it is taken over.

    Raises:
        ValueError: if another process holds it.
    """
    missing: list[Path] = []
    try:
        lock = _taken(folder, missing)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / LOCK).unlink()  # while it is held: nobody else's is removed
            lock.release()
    finally:
        with contextlib.suppress(OSError):  # at the first that is not empty
            for path in missing:
                path.rmdir()


def check_free(folder: Path) -> None:
    """ValueError if :func:`locked` would refuse the folder. Writes nothing."""
    if (folder / LOCK).exists():
        with contextlib.suppress(FileNotFoundError, PermissionError):
            _acquired(folder).release()


def _taken(folder: Path, missing: list[Path]) -> FileLock:
    """The lock, held and signed. Notes in ``missing`` the folders that it makes, the innermost first."""
    for _ in range(ATTEMPTS):
        missing += [path for path in (folder, *folder.parents) if not path.exists() and path not in missing]
        folder.mkdir(parents=True, exist_ok=True)
        earlier, host = _holder(folder), socket.gethostname()
        try:
            lock = _acquired(folder)
        except FileNotFoundError:  # another process failed meanwhile, and removed the folder that it had made
            continue
        if earlier and earlier["host"] != host:
            warnings.warn(f"{folder} was left by {HOLDER.format(**earlier)}, and is taken over", stacklevel=3)
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(PermissionError):  # Windows lets nobody write to a file that is locked
            (folder / LOCK).write_text(json.dumps({"pid": os.getpid(), "host": host, "since": since}))
        return lock
    raise ValueError(f"{folder} is locked and left by other processes again and again")


def _acquired(folder: Path) -> FileLock:
    """The lock, held but where the file system has none; ValueError if another process holds it."""
    lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        holder = _holder(folder)
        who = HOLDER.format(**holder) if holder else "another process"
        raise ValueError(f"{folder} is in use by {who}; wait for it, or choose another --out") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warnings.warn(f"{folder} lies where files cannot be locked: start no second process on it", stacklevel=2)
    return lock


def _holder(folder: Path) -> dict[str, str | int]:
    """Who signed the lock of a folder; {} if nobody has yet, or something else stands there."""
    try:
        about = json.loads((folder / LOCK).read_text())
        return {name: about[name] for name in ("pid", "host", "since")}
    except (OSError, ValueError, TypeError, KeyError):
        return {}
