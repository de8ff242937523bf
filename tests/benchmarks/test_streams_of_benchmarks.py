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


@pytest.mark.filterwarnings("ignore")
def test_a_second_network_has_a_panel_and_part_of_its_images_resampled(split, tmp_path, monkeypatch):
    few = [*WORDS[: WORDS.index("--network")], "--methods", "stock", "code", "--network"]
    for network in ("convnet:width=8,depth=2", "convnet:width=8,depth=2,norm=batch"):
        monkeypatch.setattr(sys, "argv", ["benchmarks/split_cifar100.py", *few, network])
        split.main()
    cells = json.loads((tmp_path / "benchmarks/results/split_digits.json").read_text())
    assert [cell["settings"]["resampled"] for cell in cells.values()] == [0, 0, 0, 0.5]
    assert sum("0.5 resampled" in key for key in cells) == 1
    options = split.options_of(None).parse_args([*few, network])
    assert [cell["method"] for cell in split.alike(cells, options)] == ["stock", "code"]
    assert len(split.alike(cells, options, but=["network"])) == 4
    for cell in cells.values():
        del cell["settings"]["resampled"]
    assert [cell["method"] for cell in split.alike(cells, options)] == ["stock"], "as before it could be"


def test_panels_have_one_scale_and_every_method_a_name(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import stream_report

    drawn = []
    monkeypatch.setattr(stream_report, "save_figure", lambda figure, name: drawn.append(figure))
    cells = [
        dict(method=method, images=images, matrix=[[0.5, 0.0], [0.4, 0.5]], AverageAccuracy=accuracy)
        | {"settings": {"network": network}}
        for network, method, accuracy in [("one", "stock", 0.1), ("one", "code", 0.3), ("two", "webp", 0.7)]
        for images in (100, 200)
    ]
    cells.append(cells[0] | {"settings": {"network": "of one size"}})
    stream_report.draw("x", cells)
    (figure,) = drawn
    over_time, one, two = figure.axes
    assert one.get_ylim() == two.get_ylim() and one.get_ylim()[1] > 70
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        stream_report.LABELS[method] for method in ("stock", "code", "webp")
    ]
