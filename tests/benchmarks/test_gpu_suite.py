"""The list of what wants a GPU: what is done is not done again, what runs out of time is not noted as done."""

import importlib
import re
import sys

import pytest


@pytest.fixture
def suite(monkeypatch, tmp_path):
    from benchmarks import gpu_suite

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
    from benchmarks import gpu_suite

    monkeypatch.setattr(gpu_suite, "GRACE", 1.0)
    suite.pieces.clear()
    suite.pieces["slow"] = f"-c \"{deaf}import time; time.sleep(3600); open('{tmp_path}/ended', 'w')\""
    suite("--minutes", "0.01")
    assert "slow" in capfd.readouterr().out
    assert not (tmp_path / "notes" / "slow").exists() and not (tmp_path / "ended").exists()


def test_every_piece_names_a_script_that_is_there_and_options_that_it_has(monkeypatch, capsys):
    from benchmarks import gpu_suite

    for words in gpu_suite.PIECES.values():
        _, module, *options = words.split()
        if not module.startswith("benchmarks."):
            continue
        grid = [word for word in options[:1] if not word.startswith("--")]
        monkeypatch.setattr(sys, "argv", [module, *grid, "--help"])
        with pytest.raises(SystemExit):
            importlib.import_module(module).main()
        known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert {option for option in options if option.startswith("--")} <= known, words
