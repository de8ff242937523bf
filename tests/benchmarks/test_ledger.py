"""What is published is what was measured: results are whole, and the documentation's tables are built from them."""

import json
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
CELLS = [
    (file.stem, key, cell)
    for file in sorted((HOME / "benchmarks" / "results").glob("*.json"))
    for key, cell in json.loads(file.read_text()).items()
    if isinstance(cell, dict) and "accuracies" in cell
]
WHOLE = {
    "dataset": str,
    "ipc": int,
    "bytes": int,
    "training_images": int,
    "accuracies": list,
    "mean": float,
    "std": float,
    "evaluation": dict,
    "evaluation_seconds": float,
    "versions": dict,
    "device": str,
}
EVALUATION = {"epochs", "batch", "lr", "momentum", "weight_decay", "augment", "network", "runs", "seed", "images"}


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(HOME)
    monkeypatch.syspath_prepend(HOME / "benchmarks")
    import report

    return report


def test_there_are_cells():
    assert len(CELLS) > 50


@pytest.mark.parametrize("file, key, cell", CELLS, ids=[f"{file}: {key}" for file, key, _ in CELLS])
def test_a_cell_has_what_it_takes_to_repeat_it(file, key, cell):
    for name, kind in WHOLE.items():
        assert isinstance(cell.get(name), kind), f"{name} of {key}"
    assert set(cell["evaluation"]) >= EVALUATION and cell["evaluation"]["runs"] == len(cell["accuracies"])
    assert cell["mean"] == pytest.approx(sum(cell["accuracies"]) / len(cell["accuracies"]))
    assert all(0 <= accuracy <= 100 for accuracy in cell["accuracies"])
    assert cell["versions"].get("torch") and cell["commit"]


def test_the_tables_are_built_from_the_results(report, capsys):
    assert report.main(["--check"]) == 0, capsys.readouterr().out
    shown = {place["name"] for page in report.PAGES for place in report.PLACE.finditer(page.read_text())}
    assert shown == set(report.TABLES)


def test_a_table_that_differs_is_found(report, tmp_path, monkeypatch, capsys):
    page = tmp_path / "results.md"
    page.write_text(
        (HOME / "docs" / "results.md").read_text().replace("| **condensed, `fast`", "| **condensed, `?`", 1)
    )
    monkeypatch.setattr(report, "PAGES", (page,))
    assert report.main(["--check"]) == 1 and "table cifar10-ten is not what the results say" in capsys.readouterr().out
    assert report.main([]) == 0 and report.main(["--check"]) == 0


def test_a_table_that_is_not_known(report):
    with pytest.raises(ValueError, match="unknown table 'nothing'; known are cifar10-ten"):
        report.built("<!-- report: nothing -->\n\n| |\n\n<!-- end -->")


def test_an_empty_place_takes_its_table_and_nothing_more(report):
    place = "<!-- report: scaling -->\n\n{}<!-- end -->\n\n"
    text = "before\n\n" + place + "between\n\n" + place + "after\n"
    table = report.TABLES["scaling"]() + "\n\n"
    assert report.built(text.replace("{}", "")) == report.built(text.format("| |\n\n", "")) == text.replace("{}", table)


def test_it_is_a_module_too(monkeypatch):
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.report", "--check"], cwd=HOME, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
