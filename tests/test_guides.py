"""The guides for readers of the code: what they point to is there."""

import re
from pathlib import Path

import pytest

import dm_replay

HOME = Path(dm_replay.__file__).parents[1]
GUIDES = ["README.md", "CONTRIBUTING.md", "benchmarks/README.md"]
STEPS = ["drawn", "augmented", "embedded", "compared", "updated", "stored", "replayed"]
ROW = re.compile(r"^\| (\w+) \| \[[^]]+\]\((dm_replay/[^)]+)\) \| (.*) \|$", re.MULTILINE)


@pytest.mark.parametrize("guide", GUIDES)
def test_links_and_paths_lead_somewhere(guide):
    text = (HOME / guide).read_text()
    paths = re.findall(r"\]\(((?!https?:)[^)#]+)\)", text) + re.findall(r"`((?:tests|examples)/[\w/.]+)`", text)
    folder = (HOME / guide).parent
    assert [path for path in paths if not ((folder / path).exists() or (HOME / path).exists())] == []


def test_the_way_of_an_image_is_where_the_readme_says():
    rows = ROW.findall((HOME / "README.md").read_text())
    assert [step for step, _, _ in rows] == STEPS
    for _, path, words in rows:
        paths = [path, *re.findall(r"\]\((dm_replay/[^)]+)\)", words)]
        code = "\n".join((HOME / one).read_text() for one in paths)
        names = [part for name in re.findall(r"`([\w.]+)`", words) for part in name.split(".")]
        assert names
        for name in names:
            assert re.search(rf"(def|class) {name}\b|self\.{name} =", code), f"{paths} have no {name}"


def test_the_packages_of_the_readme_are_those_of_the_code():
    listed = re.findall(r"^\| \d? ?\| `(\w+)` \|", (HOME / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(path.parent.name for path in HOME.glob("dm_replay/*/__init__.py"))


def test_contributing_is_one_page():
    assert len((HOME / "CONTRIBUTING.md").read_text().splitlines()) <= 60
