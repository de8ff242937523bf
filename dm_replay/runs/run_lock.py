"""One process at a time in a run's folder.

The lock is the system's own (``flock``) on the file ``.lock`` in the folder, so it ends with its process, however that
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

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_free", "locked"]

NAME = ".lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # on file systems that have no locks
ATTEMPTS = 100  # at a file that others remove as they finish; each takes microseconds


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder, which is made if need be, and removed again if nothing was written to it.

    Raises:
        ValueError: if another process holds it, or one on another machine left its lock there.
    """
    made: list[Path] = []
    try:
        handle = _take(folder, made)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                (folder / NAME).unlink()  # while it is held: nobody else's is removed
            os.close(handle)
    finally:
        with contextlib.suppress(OSError):  # at the first that is not empty
            for path in reversed(made):
                path.rmdir()


def check_free(folder: Path) -> None:
    """ValueError if :func:`locked` would refuse the folder. Writes nothing."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        handle = os.open(folder / NAME, os.O_RDWR)
        try:
            _lock(handle, folder)
        finally:
            os.close(handle)


def _take(folder: Path, made: list[Path]) -> int:
    """The handle of the lock file, locked and signed. Notes in ``made`` the folders that it makes."""
    for attempt in range(ATTEMPTS):
        try:
            made += [path for path in _make(folder) if path not in made]
            handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # another process failed meanwhile, and removed the folder that it had made
            if attempt == ATTEMPTS - 1:
                raise
            continue
        try:
            _lock(handle, folder)
            if _is_still(handle, folder / NAME):
                _sign(folder / NAME)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)
    raise ValueError(f"{folder} is locked and left by other processes again and again")


def _lock(handle: int, folder: Path) -> None:
    try:
        if fcntl is None:
            raise OSError(errno.ENOSYS, "no flock on this system")
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = _described(_holder(folder / NAME))
        raise ValueError(f"{folder} is in use by {who}; wait for it, or choose another --out") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        warnings.warn(f"{folder} lies where files cannot be locked: start no second process on it", stacklevel=2)
    holder = _holder(folder / NAME)
    if holder and holder["host"] != socket.gethostname():
        ended = f"if that process has ended, remove {folder / NAME}"
        raise ValueError(f"{folder} was locked by {_described(holder)}; {ended}")


def _is_still(handle: int, path: Path) -> bool:
    """Whether the open file is the one at ``path``: its last holder may have removed it in between."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(path: Path) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
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
