"""The tables of README.md and docs/, built from the result files.

    python -m benchmarks.report            # write them anew
    python -m benchmarks.report --check    # exit with 1 where they differ

A table stands between ``<!-- report: NAME -->`` and ``<!-- end -->``; tables.py has them by their names.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tables import TABLES

__all__ = ["built", "main"]

HOME = Path(__file__).parent.parent
PAGES = (HOME / "README.md", *sorted((HOME / "docs").glob("*.md")))
PLACE = re.compile(r"(<!-- report: (?P<name>[\w-]+) -->\n\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a table differs")
    options = parser.parse_args(argv)
    stale = False
    for page in PAGES:
        text = page.read_text()
        fresh = built(text)
        if options.check:
            for before, after in zip(PLACE.finditer(text), PLACE.finditer(fresh), strict=True):
                if before[0] != after[0]:
                    how = "is not what the results say: python -m benchmarks.report"
                    print(f"{page.name}: table {before['name']} {how}")
            stale |= text != fresh
        else:
            page.write_text(fresh)
    return int(stale)


def built(text: str) -> str:
    """The text with every table as the results have it.

    Raises:
        ValueError: for a table that is not known here.
    """

    def table(place: re.Match) -> str:
        if place["name"] not in TABLES:
            raise ValueError(f"unknown table {place['name']!r}; known are {', '.join(TABLES)}")
        return place[1] + TABLES[place["name"]]() + "\n\n" + place[3]

    return PLACE.sub(table, text)


if __name__ == "__main__":
    sys.exit(main())
