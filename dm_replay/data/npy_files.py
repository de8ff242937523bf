"""Reading numpy's files, whatever is wrong with them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["expect_readable", "npy_array"]

LONGEST = 120  # characters of a reason that are shown


def npy_array(file: str | Path, what: str, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file. Runs no code.

    Args:
        what: it holds, for the error.
        mapped: whether it stays in the file, to be read where it is touched.

    Raises:
        ValueError: if the file is missing, or is not one plain array.
    """
    if not Path(file).is_file():
        raise ValueError(f"no such file of {what}: {file}")
    with expect_readable(file, ".npy file of a plain array"):
        array = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("an archive")
    return array


@contextlib.contextmanager
def expect_readable(file: str | Path, kind: str) -> Iterator[None]:
    """ValueError of one line about whatever the readers of a file stumble over.

    That is any exception: of zip, zlib and numpy, of the parser of Python that reads a header, of a shape that no
    memory holds.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        shown = reason if len(reason) <= LONGEST else f"{reason[:LONGEST]}…"
        raise ValueError(f"{file} is not a readable {kind} ({shown})") from error
