"""Words of a command line as values, and words of docstrings as its help."""

import inspect
import re
from argparse import ArgumentTypeError
from pathlib import Path

__all__ = ["documented", "number", "path", "true_or_false", "whole_number"]

ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.*)")
REFERENCE = re.compile(r"[,;]? see :\w+:`[^`]*`[^.;]*")  # which leads nowhere in a terminal
ROLE = re.compile(r":\w+:(?=`)")


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


def documented(what: object) -> dict[str, str]:
    """The text of each argument in the ``Args:`` of a function or class, without markup and its last full stop."""
    texts: dict[str, list[str]] = {}
    names: list[str] = []
    for line in _section(inspect.getdoc(what) or "", "Args:"):
        entry = ENTRY.fullmatch(line)
        if entry:
            names = entry[1].split(", ")
        for name in names:
            texts.setdefault(name, []).append(entry[2] if entry else line.strip())
    return {name: _plain(name, " ".join(lines)) for name, lines in texts.items()}


def _section(text: str, title: str) -> list[str]:
    """The indented lines after a title."""
    lines = iter(text.splitlines())
    found = []
    if title in lines:
        for line in lines:
            if line and not line.startswith(" "):
                break
            found += [line] if line else []
    return found


def _plain(name: str, text: str) -> str:
    """What goes on from the argument's name ("of the result") begins with it."""
    text = ROLE.sub("", REFERENCE.sub("", text)).replace("`", "").strip()
    text = text if text.endswith("..") else text.removesuffix(".")
    return f"{name.replace('_', ' ')} {text}" if text.startswith("of ") else text
