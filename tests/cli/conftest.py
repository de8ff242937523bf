"""Runs of the command line, and what it says."""

import pytest

from dm_replay.cli.__main__ import main

SMALL = ["--network", "convnet:width=4,depth=1", "--device", "cpu", "--compile", "no", "--quiet"]
CONDENSE = ["condense", *SMALL, "--preset", "paper", "--ipc", "2", "--iterations", "4", "--batch-real", "4"]


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The folder of a finished run on digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    assert main([*CONDENSE, "--out", str(out), "--seed", "3"]) == 0
    return out


@pytest.fixture
def cli(capsys):
    """``cli(*words)`` runs a command that goes well and returns what it printed."""

    def run(*words):
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        assert status == 0, printed.err
        return printed.out

    return run


@pytest.fixture
def refused(capsys):
    """``refused(*words)`` runs a command that fails as it should and returns the one line it said."""

    def run(*words):
        status = main([str(word) for word in words])
        printed = capsys.readouterr()
        assert status == 2 and not printed.out
        lines = printed.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("dm-replay: error: "), printed.err
        return lines[0]

    return run
