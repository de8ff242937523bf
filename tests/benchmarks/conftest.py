"""Benchmarks are a package of the checkout; in tests their results and sets go to a folder of the test."""

from pathlib import Path
from types import SimpleNamespace

import pytest

HOME = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch):
    monkeypatch.syspath_prepend(HOME)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The folder of results."""
    from benchmarks import results, sets, stream_memories

    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sets, "SETS", tmp_path / "sets")
    monkeypatch.setattr(stream_memories, "KEPT", tmp_path / "kept")
    return tmp_path / "results"


@pytest.fixture
def shape_of_cifar(monkeypatch):
    """Grids take every dataset for one of images of 3 x 32 x 32, and read none."""
    from benchmarks import grids

    monkeypatch.setattr(grids, "load_dataset", lambda name: SimpleNamespace(spec=SimpleNamespace(shape=(3, 32, 32))))
