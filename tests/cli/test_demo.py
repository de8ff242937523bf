import pytest

from dm_replay.cli import streams
from dm_replay.cli.streams import run_demo


@pytest.mark.filterwarnings("ignore")
def test_condensed_replay_leads_stock_replay_at_equal_bytes(tmp_path, capsys):
    run_demo(str(tmp_path / "demo"), seeds=1, iterations=60)
    printed = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("| ")]
    rows = {name: (int(held.replace(",", "")), float(accuracy)) for name, held, accuracy, *_ in cells[2:]}
    final = {method: accuracy for method, (_, accuracy) in rows.items()}
    assert final["condensed replay"] > final["stock replay"] + 5 > final["naive"] + 5
    stored = {method: held for method, (held, _) in rows.items()}
    ours = {held for method, held in stored.items() if method not in ("stock replay", "naive")}
    assert stored["naive"] == 0 and len(stored) == 6 and ours == {1448} and 0 <= stored["stock replay"] - 1448 < 64
    for name in ("accuracy.png", "condensed.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore")
def test_processes_side_by_side_show_the_same(tmp_path, capsys, monkeypatch):
    printed = []
    monkeypatch.setattr(streams, "METHODS", ("naive", "stock replay", "condensed replay"))
    for processes in (1, 2):
        monkeypatch.setattr(streams, "processes_for", lambda jobs, processes=processes: processes)
        run_demo(str(tmp_path), seeds=2, iterations=1)
        printed.append([line.split("|")[1:4] for line in capsys.readouterr().out.splitlines()])  # but the seconds
    assert len(printed[0]) > 4 and printed[0] == printed[1]


def test_bad_input(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        run_demo(str(tmp_path / "file"))
    with pytest.raises(ValueError, match="seeds must be a whole number of at least 1, got 0"):
        run_demo(str(tmp_path), seeds=0)
