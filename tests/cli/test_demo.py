import pytest

from dm_replay.cli import demo
from dm_replay.cli.demo import run_demo


@pytest.mark.filterwarnings("ignore")
def test_condensed_replay_leads_stock_replay_at_equal_bytes(tmp_path, capsys):
    run_demo(str(tmp_path / "demo"), seeds=1, iterations=60)
    printed = capsys.readouterr().out
    rows = {line[:19].strip(): line for line in printed.splitlines() if line.endswith(" %")}
    final = {method: float(line.split()[-2]) for method, line in rows.items()}
    assert final["condensed replay"] > final["stock replay"] + 5 > final["naive"] + 5
    stored = {
        method: int(line.split(" bytes")[0].split()[-1].replace(",", ""))
        for method, line in rows.items()
        if "bytes" in line
    }
    ours = {bytes for method, bytes in stored.items() if method != "stock replay"}
    assert len(stored) == 5 and ours == {1448} and 0 <= stored["stock replay"] - 1448 < 64
    for name in ("accuracy.png", "condensed.png"):
        assert (tmp_path / "demo" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore")
def test_processes_side_by_side_show_the_same(tmp_path, capsys, monkeypatch):
    printed = []
    monkeypatch.setattr(demo, "METHODS", ("naive", "stock replay", "condensed replay"))
    for processes in (1, 2):
        monkeypatch.setattr(demo, "processes_for", lambda jobs, processes=processes: processes)
        run_demo(str(tmp_path), seeds=2, iterations=1)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_bad_input(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        run_demo(str(tmp_path / "file"))
    with pytest.raises(ValueError, match="seeds must be a whole number of at least 1, got 0"):
        run_demo(str(tmp_path), seeds=0)
