"""One process at a time in a run's folder.

The lock is the system's own on the file ``.lock`` in the folder, so it ends with its process, however and wherever that
ends. The file says who holds it. It is removed with the lock, and what a killed process left of it is taken over.
"""

import contextlib
import errno
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["check_free", "locked"]

NAME = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # on file systems that have no locks
ATTEMPTS = 100  # at a file that others remove as they finish; each takes microseconds


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be, and removed again if nothing was written to it.

    Raises:
        ValueError: if another process holds it.
    """
    made: list[Path] = []
    try:
        lock = _take(folder, made)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / NAME).unlink()  # while it is held: nobody else's is removed
            lock.release()
    finally:
        with contextlib.suppress(OSError):  # at the first that is not empty
            for path in reversed(made):
                path.rmdir()


def check_free(folder: Path) -> None:
    """ValueError if :func:`locked` would refuse the folder. Writes nothing."""
    if (folder / NAME).exists():
        with contextlib.suppress(FileNotFoundError, PermissionError):
            _acquired(folder).release()


def _take(folder: Path, made: list[Path]) -> FileLock:
    """The lock, held and signed. Notes in ``made`` the folders that it makes."""
    for _ in range(ATTEMPTS):
        made += [path for path in _make(folder) if path not in made]
        earlier = _holder(folder / NAME)
        try:
            lock = _acquired(folder)
        except FileNotFoundError:  # another process failed meanwhile, and removed the folder that it had made
            continue
        if earlier and earlier["host"] != socket.gethostname():
            warnings.warn(f"{folder} was left by {_described(earlier)}, and is taken over", stacklevel=3)
        _sign(folder / NAME)
        return lock
    raise ValueError(f"{folder} is locked and left by other processes again and again")


def _acquired(folder: Path) -> FileLock:
    """The lock, held but where the file system has none; ValueError if another process holds it."""
    lock = FileLock(folder / NAME, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        who = _described(_holder(folder / NAME))
        raise ValueError(f"{folder} is in use by {who}; wait for it, or choose another --out") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warnings.warn(f"{folder} lies where files cannot be locked: start no second process on it", stacklevel=2)
    return lock


def _sign(path: Path) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(PermissionError):  # Windows lets nobody write to a file that is locked
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))


def _holder(path: Path) -> dict[str, str | int]:
    """What :func:`_sign` wrote; {} if it has not yet, or something else stands there."""
    try:
        about = json.loads(path.read_text())
        return {name: about[name] for name in ("pid", "host", "since")}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _described(holder: dict[str, str | int]) -> str:
    return "process {pid} on {host} since {since}".format(**holder) if holder else "another process"


def _make(folder: Path) -> list[Path]:
    """Make a folder; returns those that were missing, the outermost first."""
    folder = folder.absolute()
    missing = [path for path in (*reversed(folder.parents), folder) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing
