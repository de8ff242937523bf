"""A pickle module: dill, but files that are open for writing come back to be appended to, with what they held."""

import io
import os
from pathlib import Path
from typing import Any

import dill

__all__ = ["Pickler", "reopened"]

LONGEST = 10_000  # characters of a header; a longer first line is none


class Pickler(dill.Pickler):
    """dill's would open a file once more in its own mode, which empties one that was opened to be written."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, io.TextIOWrapper | io.BufferedWriter) or not isinstance(obj.name, str | Path):
            return NotImplemented
        if obj.mode[0] not in "wxa" or not Path(obj.name).is_file():
            return NotImplemented
        text = {} if isinstance(obj, io.BufferedWriter) else {"encoding": obj.encoding, "errors": obj.errors}
        return reopened, (str(obj.name), f"a{obj.mode[1:]}", text, obj.closed, _header(obj))


def reopened(name: str, mode: str, text: dict[str, str | None], closed: bool, header: str) -> Any:
    """The file, to be appended to. Where it is gone, its folder and its header are made anew.

    Raises:
        OSError: if it cannot be.
    """
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    file: Any = open(name, mode, **text)  # type: ignore[call-overload]  # noqa: SIM115
    if header and not os.fstat(file.fileno()).st_size:
        file.write(header)
        file.flush()
    if closed:
        file.close()
    return file


def _header(file: Any) -> str:
    """The first line of a table: rows that follow would mean nothing without it."""
    if not str(file.name).endswith(".csv") or isinstance(file, io.BufferedWriter):
        return ""
    if not file.closed:
        file.flush()
    with open(file.name, encoding=file.encoding, errors=file.errors) as written:
        line = written.readline(LONGEST)
    return line if line.endswith("\n") else ""
