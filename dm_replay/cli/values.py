"""Words of a command line as values."""

from argparse import ArgumentTypeError
from pathlib import Path

__all__ = ["number", "path", "true_or_false", "whole_number"]


def path(word: str) -> Path:
    """A path, ``~`` and ``~user`` written out, which a shell leaves alone after ``--out=``."""
    if not word:
        raise ArgumentTypeError("expected a path, got an empty word")
    try:
        return Path(word).expanduser()
    except RuntimeError:
        raise ArgumentTypeError(f"no home folder is known for {word}") from None


def whole_number(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ArgumentTypeError(f"expected a whole number, got {word!r}") from None


def number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ArgumentTypeError(f"expected a number, got {word!r}") from None


def true_or_false(word: str) -> bool:
    try:
        return {"true": True, "false": False}[word.lower()]
    except KeyError:
        raise ArgumentTypeError(f"expected true or false, got {word!r}") from None
