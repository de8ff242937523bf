"""What docstrings say of arguments, as text for a terminal."""

import inspect
import re

__all__ = ["documented"]

ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.*)")
REFERENCE = re.compile(r"[,;]? see :\w+:`[^`]*`[^.;]*")  # which leads nowhere in a terminal
ROLE = re.compile(r":\w+:(?=`)")


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
