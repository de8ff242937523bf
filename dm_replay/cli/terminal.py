"""Printing where the terminal, a pipe or a file takes fewer characters than there are."""

import codecs
import sys

__all__ = ["expect_few_characters"]

ALIKE = {"±": "+-", "×": "x", "–": "-", "…": "...", "²": "^2"}


def expect_few_characters() -> None:
    """What stdout cannot encode is printed as something like it, instead of an error after hours of work."""
    codecs.register_error("dm_replay.alike", _alike)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="dm_replay.alike")


def _alike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(ALIKE.get(character, "?") for character in error.object[error.start : error.end]), error.end
