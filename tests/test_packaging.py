"""What an installation gets, every package and the mark that it is typed, and what the citation says."""

import configparser
from pathlib import Path

import dm_replay

HOME = Path(dm_replay.__file__).parent
SETUP = HOME.parent / "setup.cfg"


def test_every_folder_of_modules_is_a_package_that_setuptools_finds():
    folders = {path.parent for path in HOME.rglob("*.py")}
    assert len(folders) > 10
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_the_mark_of_a_typed_package_is_shipped():
    setup = configparser.ConfigParser()
    setup.read(SETUP)
    assert (HOME / "py.typed").is_file()
    assert "py.typed" in setup["options.package_data"]["dm_replay"].split()


def test_the_citation_is_of_this_version():
    assert f"version: {dm_replay.__version__}" in (HOME.parent / "CITATION.cff").read_text().splitlines()
