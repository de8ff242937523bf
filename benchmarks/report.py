"""The tables of README.md and docs/, built from the result files.

    python -m benchmarks.report            # write them anew
    python -m benchmarks.report --check    # exit with 1 where they differ

A table stands between ``<!-- report: NAME -->`` and ``<!-- end -->`` in any of :data:`PAGES`.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from . import cost_tables, deciding, network_tables, stream_tables
from .results import markdown

__all__ = ["PAGES", "TABLES", "built", "main"]

HOME = Path(__file__).parent.parent
PAGES = (HOME / "README.md", *sorted((HOME / "docs").glob("*.md")))
TABLES = {**network_tables.REPORTED, **stream_tables.REPORTED, **cost_tables.REPORTED, **deciding.REPORTED}
PLACE = re.compile(r"(<!-- report: (?P<name>[\w-]+) -->\n\n)(?:(?!<!--).)*(<!-- end -->)", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a table differs")
    options = parser.parse_args(argv)
    differ = False
    for file in PAGES:
        text = file.read_text()
        fresh = built(text)
        differ |= text != fresh
        if not options.check:
            file.write_text(fresh)
            continue
        for before, after in zip(PLACE.finditer(text), PLACE.finditer(fresh), strict=True):
            if before[0] != after[0]:
                name = file.relative_to(HOME) if file.is_relative_to(HOME) else file
                print(f"{name}: table {before['name']} is not what the results say: python -m benchmarks.report")
    return int(differ and options.check)


def built(text: str) -> str:
    """The text with every table as the results have it.

    Raises:
        ValueError: for a table that is not known here.
    """

    def table(place: re.Match) -> str:
        if place["name"] not in TABLES:
            raise ValueError(f"unknown table {place['name']!r}; known are {', '.join(TABLES)}")
        return place[1] + markdown(TABLES[place["name"]]()) + "\n\n" + place[3]

    return PLACE.sub(table, text)


if __name__ == "__main__":
    sys.exit(main())
