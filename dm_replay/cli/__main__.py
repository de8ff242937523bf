"""The command line: it starts at once, and says in one line what was wrong."""

import codecs
import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import NoReturn

from .. import __version__

__all__ = ["main", "run"]

COMMANDS = {
    "condense": "condense a dataset into a few synthetic images per class",
    "evaluate": "train fresh networks on a condensed set and test them on real images",
    "show": "picture of a condensed set, or animation of a run",
    "export": "condensed images as npz or as a folder of PNGs",
    "compare": "memories of the same bytes beside each other, on a dataset class by class",
    "demo": "condensed replay beside stock replay on handwritten digits, offline",
    "doctor": "versions, devices, self-check and speed of this machine, for a bug report",
}


# What to lower where the memory does not suffice.
LOWER = {
    "condense": "--memory-budget, --batch-real, --ipc or the network's width",
    "evaluate": "--parallel-networks, --batch or the network's width",
    "show": "--classes or --per-class",
}
# What stands for a character that a terminal, a pipe or a file does not take.
ALIKE = {"±": "+-", "×": "x", "–": "-", "…": "...", "²": "^2"}
# How PyTorch, its devices and C++ say that an allocation failed.
NO_MEMORY = ("out of memory", "not enough memory", "allocate memory", "bad_alloc", "Storage size calculation")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 after an error in what was given, 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else list(argv)
    _expect_few_characters()
    try:
        with _warnings_in_one_line():
            _dispatch(argv)
    except (ValueError, OSError, OverflowError) as error:
        return _failed(_one_line(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        return _failed(_lack_of_memory(error, argv[0]))
    except KeyboardInterrupt as stop:
        print(f"dm-replay: {_one_line(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


def _failed(reason: str) -> int:
    print(f"dm-replay: error: {reason}", file=sys.stderr)
    return 2


def _dispatch(argv: list[str]) -> None:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"dm-replay {__version__}")
    elif name in COMMANDS:
        from . import commands

        getattr(commands, name)(argv[1:])
    else:
        raise ValueError(f"unknown command {name!r}; choose from {', '.join(COMMANDS)}")


def _help() -> str:
    rows = "\n".join(f"  {name:<10} {purpose}" for name, purpose in COMMANDS.items())
    return f"usage: dm-replay COMMAND ...\n\n{rows}\n\ndm-replay COMMAND --help tells the options of each."


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        return f"{error.strerror}: {file}" if file else error.strerror
    return " ".join(str(error).split())


def _is_lack_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY)


def _lack_of_memory(error: BaseException, command: str) -> str:
    asked = re.search(r"allocate (\d[\d.]*) (\w+)", str(error))
    how_much = f" for another {_in_gib(*asked.groups())}" if asked else ""
    return f"not enough memory{how_much}" + (f": lower {LOWER[command]}" if command in LOWER else "")


def _in_gib(number: str, unit: str) -> str:
    return f"{int(number) / 2**30:.3g} GiB" if unit == "bytes" else f"{number} {unit}"


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Without the file and line of their origin, which mean nothing to who typed a command."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"dm-replay: warning: {' '.join(str(message).split())}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _expect_few_characters() -> None:
    """What stdout cannot encode is printed as something like it, instead of an error after hours of work."""
    codecs.register_error("dm_replay.alike", _alike)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="dm_replay.alike")


def _alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(ALIKE.get(character, "?") for character in error.object[error.start : error.end]), error.end


def run() -> NoReturn:
    """The program: :func:`main` and its exit status.

    A process among several ends without the interpreter's last clean-up, in which threads of PyTorch that still hold
    tensors abort a process whose work is done (https://github.com/pytorch/pytorch/pull/179291).
    """
    status = main()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        with contextlib.suppress(OSError):  # nobody reads on
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    run()
