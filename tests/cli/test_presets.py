"""Presets, seconds and mosaics on the command line."""

import json
import signal

import numpy as np
import pytest
from PIL import Image

from dm_replay.cli.__main__ import main
from dm_replay.runs.recorder import LossLog

SMALL = ["--network", "convnet:width=4,depth=1", "--device", "cpu", "--compile", "no", "--quiet"]
FORMED = ["condense", *SMALL, "--preset", "fast", "--tiles", "2", "--ipc", "2", "--batch-real", "4"]
FORMED += ["--extractor-steps", "2"]


@pytest.fixture(scope="module")
def formed(tmp_path_factory):
    out = tmp_path_factory.mktemp("formed") / "run"
    assert main([*FORMED, "--seconds", "1", "--out", str(out)]) == 0
    return out


def test_a_run_of_so_many_seconds_says_how_many_updates_it_made(formed):
    record = json.loads((formed / "run.json").read_text())
    assert record["settings"]["init"] == "herding" and record["settings"]["tiles"] == 2, "of the preset, and given"
    assert record["settings"]["seconds"] == 1
    assert record["updates_done"] == record["iterations_done"] * record["settings"]["inner_steps"] > 0
    assert record["images"] == 20 and record["decoded_images"] == 80
    assert len(list((formed / "images").glob("iter_*.png"))) >= 2
    assert record["timings"]["total_seconds"] < 60


def test_evaluated_on_what_it_decodes_to_and_in_steps(formed, capsys):
    assert main(["evaluate", *SMALL, str(formed), "--runs", "1", "--steps", "5", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)["condensed"]
    assert report["settings"]["images"] == 80 and report["settings"]["steps_made"] == 5


def test_shown_and_exported_decoded_or_as_stored(formed, tmp_path, capsys):
    for name, flags in (("decoded", []), ("stored", ["--stored"])):
        assert main(["show", str(formed), "--out", str(tmp_path / f"{name}.png"), *flags]) == 0
        assert main(["export", str(formed), "--format", "npz", "--out", str(tmp_path / f"{name}.npz"), *flags]) == 0
    assert "20 images (80 decoded)" in capsys.readouterr().out
    widths = [Image.open(tmp_path / f"{name}.png").width for name in ("decoded", "stored")]
    assert widths[0] > 3 * widths[1] / 2
    assert [len(np.load(tmp_path / f"{name}.npz")["labels"]) for name in ("decoded", "stored")] == [80, 20]


def test_a_run_of_seconds_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    note, calls = LossLog.note, []

    def stopping(self, loss):
        note(self, loss)
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(LossLog, "note", stopping)
    assert main([*FORMED, "--seconds", "1", "--out", str(tmp_path / "run")]) == 130
    assert main([*FORMED, "--seconds", "1", "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["iterations_done"] >= 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset", "slow"], "slow"),
        (["--tiles", "9"], "tiles 9 does not fit 8x8 images"),
        (["--seconds", "0"], "seconds must be above 0"),
    ],
)
def test_what_cannot_be_is_one_line(flags, message, tmp_path, capsys):
    assert main([*FORMED, *flags, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said and len(said.splitlines()) == 1
