"""What is published is what was measured: results are whole, and the documentation's tables are built from them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
FILES = sorted((HOME / "benchmarks" / "results").glob("*.jsonl"))
ALL = {"script": str, "grid": str, "date": str, "commit": str, "device": str, "versions.torch": str}
TRAINED = {
    "networks": {"dataset": str, "method": str, "seed": int, "network": str, "run": int, "accuracy": float},
    "streams": {"dataset": str, "method": str, "seed": int, "network": str, "bytes": int, "images": int}
    | {"accuracy": float, "seconds": float, "batch": int, "lr": float},
}
OF_SETS = {"bytes": int, "training_images": int, "seconds": float}
OF_EVALUATION = {f"evaluation.{name}" for name in ("epochs", "batch", "lr", "momentum", "weight_decay", "augment")}


@pytest.fixture
def report():
    from benchmarks import report

    return report


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def has(row, wanted):
    return all(isinstance(row.get(name), kind) for name, kind in wanted.items())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_row_has_what_it_takes_to_repeat_it(file):
    from benchmarks.results import GROUPS, KNOWN

    rows = rows_of(file)
    assert rows
    for row in rows:
        assert has(row, ALL) and row["grid"] == file.stem, row
        assert {name for name in row if "." not in name} <= KNOWN
        assert {name.split(".")[0] for name in row if "." in name} <= set(GROUPS)
        assert not any(isinstance(value, dict) for value in row.values())
        wanted = dict(TRAINED.get(row["script"], {}))
        if row.get("method", "").startswith(("naive", "joint", "oracle")):
            wanted.pop("images", None)
        assert has(row, wanted), row
        assert 0 <= row.get("accuracy", 0) <= 100
        if row["script"] == "networks" and row["grid"] != "nested":
            assert has(row, OF_SETS) and row.keys() >= OF_EVALUATION
            assert bool(row["steps"]) != bool(row["epochs"])


def test_there_are_rows_of_every_grid():
    from benchmarks.grids import GRIDS
    from benchmarks.streams import GRIDS as STREAMS

    assert {file.stem for file in FILES} >= {*GRIDS, *STREAMS}
    assert sum(map(len, map(rows_of, FILES))) > 1000


def test_a_row_that_is_there_is_one_that_its_grid_would_make(shape_of_cifar):
    """So that nothing is measured again that was measured: cells have the columns and the kinds of values of rows."""
    from benchmarks.grids import GRIDS
    from benchmarks.runner import cells
    from benchmarks.streams import GRIDS as STREAMS

    for name, grid in {**GRIDS, **STREAMS}.items():
        rows = rows_of(HOME / "benchmarks" / "results" / f"{name}.jsonl")
        rows = [row for row in rows if not re.search("/(jpeg|webp|code)", row["method"])]  # of codecs that are gone
        axes = {**grid.axes, **grid.quick}
        for axis in axes.keys() & {column for row in rows for column in row}:
            axes[axis] = sorted({row[axis] for row in rows}, key=str)
        axes["network"] = axes["network"] if name != "nas" else [None]
        found = cells(grid, axes)
        missed = [row for row in rows if not any(cell.items() <= row.items() for cell in found)]
        assert not missed, f"{name}: {missed[:1]}"


def test_lines_are_added_and_read_as_they_were(elsewhere):
    from benchmarks.results import append, lines, read

    append("x", [{"method": "random/whole", "accuracy": 1.5, "config": {"codec": {"tiles": 2}}}])
    append("x", [{"method": "paper/whole", "accuracy": 2.5, "matrix": [[1.0, 2.0]], "iterations": 3}])
    first, second = lines("x")
    assert first["config.codec.tiles"] == 2 and second["matrix"] == [[1.0, 2.0]] and has(first, ALL)
    frame = read("x", method="paper/whole")
    assert len(frame) == 1 and frame.iterations.iloc[0] == 3 and frame.dataset.isna().all()
    assert len(read("x", iterations=None)) == 1 and len(read("nothing")) == 0


def test_a_column_that_the_schema_does_not_have(elsewhere):
    from benchmarks.results import append, lines

    with pytest.raises(ValueError, match="the schema has no column acuracy; it is in"):
        append("x", [{"acuracy": 1.0}])
    assert lines("x") == []


def test_processes_add_lines_at_once(elsewhere):
    code = (
        "import sys; from pathlib import Path; from benchmarks import results; "
        f"results.RESULTS = Path({str(elsewhere)!r}); "
        "[results.append('x', [{'method': sys.argv[1] * 5000, 'run': k}]) for k in range(10)]"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, word], cwd=HOME) for word in "ab"]
    assert [job.wait() for job in jobs] == [0, 0]
    rows = rows_of(elsewhere / "x.jsonl")
    assert sorted((row["method"][0], row["run"]) for row in rows) == [(word, k) for word in "ab" for k in range(10)]


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
    from benchmarks.results import markdown

    place = "<!-- report: scaling -->\n\n{}<!-- end -->\n\n"
    text = "before\n\n" + place + "between\n\n" + place + "after\n"
    table = markdown(report.TABLES["scaling"]()) + "\n\n"
    assert report.built(text.replace("{}", "")) == report.built(text.format("| |\n\n", "")) == text.replace("{}", table)


def test_it_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.report", "--check"], cwd=HOME, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_published_figures_are_read_from_their_file():
    from benchmarks.targets import first, published

    assert first("offline", dataset="cifar10", ipc=10, method="dm") == "*48.9 ± 0.6*"
    assert first("offline", dataset="mnist", ipc=1, method="dm") == "*89.7 (unverified)*"
    assert first("offline", dataset="cifar10", ipc=50, method="dm") == "*63.0 ± 0.4*"
    assert first("nas correlation", method="random") == "*-0.04 (unverified)*"
    assert first("offline", dataset="digits") == ""
    assert published("online").source.notna().all() and published("offline")["mean"].between(0, 100).all()
