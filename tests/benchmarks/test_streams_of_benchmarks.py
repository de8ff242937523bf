"""The stream benchmarks go through, on digits, for every kind of memory; nothing is said of how well."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
METHODS = ["naive", "joint", "stock", "herding", "shrunk", "code whole", "fast", "mixed", "gdumb herding", "gdumb fast"]
WORDS = ["--dataset", "digits", "--images", "20", "--experiences", "5", "--epochs", "1", "--seconds", "0.2"]
WORDS += ["--network", "convnet:width=8,depth=2", "--methods", *METHODS]


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import common
    import split_cifar100
    import stream_memories

    monkeypatch.setattr(common, "RESULTS", tmp_path / "benchmarks" / "results")
    monkeypatch.setattr(stream_memories, "KEPT", tmp_path / "kept")
    return split_cifar100


@pytest.mark.filterwarnings("ignore")
def test_a_stream_with_every_memory(split, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks/split_cifar100.py", *WORDS])
    split.main()
    cells = json.loads((tmp_path / "benchmarks/results/split_digits.json").read_text())
    assert [cell["method"] for cell in cells.values()] == METHODS
    for cell in cells.values():
        rows = 1 if cell["method"] == "joint" else 5
        assert len(cell["matrix"]) == rows and all(len(row) == 5 for row in cell["matrix"])
        assert 0 <= cell["AverageAccuracy"] <= 1 and max(cell["bytes"]) <= 20 * 64
        assert (max(cell["bytes"]) > 0) == (cell["method"] not in ("naive", "joint"))
    assert (tmp_path / "benchmarks/results/split_digits.png").read_bytes().startswith(b"\x89PNG")

    before, kept = capsys.readouterr().out, sorted((tmp_path / "kept").rglob("*.pt"))
    assert len(kept) == 5 * 5, "made once for a kind, whatever uses it"
    split.main()
    assert [line for line in before.splitlines() if "at the end" in line] == [
        line for line in capsys.readouterr().out.splitlines() if "at the end" in line
    ]
