"""Writing a file whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["atomic"]


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes the place of ``path`` in one step.

    Whatever is raised inside (a full disk, Ctrl-C) removes the temporary file and leaves ``path`` as it was.
    The temporary file keeps the suffix, for writers that choose a format by it.

    >>> from pathlib import Path
    >>> from dm_replay.runtime.atomic_files import atomic
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
