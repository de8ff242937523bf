"""The list of what wants a GPU: what is done is not done again, what runs out of time is not noted as done."""

import re
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def suite(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_suite

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["gpu_suite.py", "--notes", str(tmp_path / "notes"), *words])
        gpu_suite.main()

    run.pieces = {name: f"-c \"open('{tmp_path}/{name}', 'a').write('x')\"" for name in ("one", "two")}
    monkeypatch.setattr(gpu_suite, "PIECES", run.pieces)
    return run


def test_pieces_run_once_and_in_order(suite, tmp_path, capfd):
    suite.pieces["fails"] = "-c 'raise SystemExit(3)'"
    suite(), suite()
    assert [(tmp_path / name).read_text() for name in ("one", "two")] == ["x", "x"]
    suite("--list")
    last = capfd.readouterr().out.splitlines()[-3:]
    assert [line.split()[:2] for line in last] == [["one", "done"], ["two", "done"], ["fails", "to"]]


@pytest.mark.parametrize(
    "deaf", ["", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "], ids=["", "deaf"]
)
def test_what_runs_out_of_time_is_stopped_and_not_noted(suite, tmp_path, deaf, monkeypatch, capfd):
    import gpu_suite

    monkeypatch.setattr(gpu_suite, "GRACE", 1.0)
    suite.pieces.clear()
    suite.pieces["slow"] = f"-c \"{deaf}import time; time.sleep(3600); open('{tmp_path}/ended', 'w')\""
    suite("--minutes", "0.01")
    assert "slow" in capfd.readouterr().out
    assert not (tmp_path / "notes" / "slow").exists() and not (tmp_path / "ended").exists()


def test_every_piece_names_a_script_that_is_there_and_options_that_it_has(monkeypatch, capsys):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu_suite

    for words in gpu_suite.PIECES.values():
        script, *options = words.split()
        if not script.startswith("benchmarks/"):
            continue
        module = __import__(Path(script).stem)
        monkeypatch.setattr(sys, "argv", [script, "--help"])
        with pytest.raises(SystemExit):
            module.main()
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert {option for option in options if option.startswith("--")} <= known, words
