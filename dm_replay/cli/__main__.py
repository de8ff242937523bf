"""The command line: it starts at once, and says in one line what was wrong."""

import argparse
import sys
from collections.abc import Sequence

from .. import __version__

__all__ = ["main"]

COMMANDS = {
    "condense": "condense a dataset into a few synthetic images per class",
    "evaluate": "train fresh networks on a condensed set and test them on real images",
    "show": "picture of a condensed set, or animation of a run",
    "export": "condensed images as npz or as a folder of PNGs",
    "demo": "condensed replay beside stock replay on handwritten digits, offline",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 after an error in what was given, 130 after Ctrl-C."""
    try:
        _dispatch(sys.argv[1:] if argv is None else list(argv))
    except (ValueError, OSError, argparse.ArgumentError) as error:
        print(f"dm-replay: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"dm-replay: {_one_line(stop) or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


def _dispatch(argv: list[str]) -> None:
    name = argv[0] if argv else "--help"
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"dm-replay {__version__}")
    elif name in COMMANDS:
        from . import commands

        getattr(commands, name)([_underscored(word) for word in argv[1:]])
    else:
        raise ValueError(f"unknown command {name!r}; choose from {', '.join(COMMANDS)}")


def _help() -> str:
    rows = "\n".join(f"  {name:<10} {purpose}" for name, purpose in COMMANDS.items())
    return f"usage: dm-replay COMMAND ...\n\n{rows}\n\ndm-replay COMMAND --help tells the options of each."


def _underscored(word: str) -> str:
    """Options are named as in Python; dashes will do, too: --batch-real is --batch_real."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        file = error.filename2 or error.filename
        return f"{error.strerror}: {file}" if file else error.strerror
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
