"""Words of a command line as values, and words of docstrings as its help."""

import inspect
import re
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

__all__ = ["documented", "number", "path", "true_or_false", "whole_number"]

SECTION = re.compile(r"^Args:\n((?: .*\n|\n)*)", re.MULTILINE)  # its indented lines
ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.*)")
REFERENCE = re.compile(r"[,;]? see :\w+:`[^`]*`[^.;]*")  # which leads nowhere in a terminal
ROLE = re.compile(r":\w+:(?=`)")
Value = TypeVar("Value")


def path(word: str) -> Path:
    """A path, ``~`` and ``~user`` written out, which a shell leaves alone after ``--out=``."""
    if not word:
        raise ArgumentTypeError("expected a path, got an empty word")
    try:
        return Path(word).expanduser()
    except RuntimeError:
        raise ArgumentTypeError(f"no home folder is known for {word}") from None


def _expected(what: str, parse: Callable[[str], Value]) -> Callable[[str], Value]:
    def value(word: str) -> Value:
        try:
            return parse(word)
        except (KeyError, ValueError):
            raise ArgumentTypeError(f"expected {what}, got {word!r}") from None

    return value


whole_number = _expected("a whole number", int)
number = _expected("a number", float)
true_or_false = _expected("true or false", lambda word: {"true": True, "false": False}[word.lower()])


def documented(what: object) -> dict[str, str]:
    """The text of each argument in the ``Args:`` of a function or class, without markup and its last full stop."""
    texts: dict[str, list[str]] = {}
    names: list[str] = []
    section = SECTION.search(f"{inspect.getdoc(what)}\n")
    for line in filter(None, section[1].splitlines() if section else ()):
        entry = ENTRY.fullmatch(line)
        if entry:
            names = entry[1].split(", ")
        for name in names:
            texts.setdefault(name, []).append(entry[2] if entry else line.strip())
    return {name: _plain(name, " ".join(lines)) for name, lines in texts.items()}


def _plain(name: str, text: str) -> str:
    """What goes on from the argument's name ("of the result") begins with it."""
    text = ROLE.sub("", REFERENCE.sub("", text)).replace("`", "").strip()
    text = text if text.endswith("..") else text.removesuffix(".")
    return f"{name.replace('_', ' ')} {text}" if text.startswith("of ") else text
