"""Damaged and shared files, paths, and lack of memory: one line, and nothing overwritten."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from PIL import Image

from dm_replay.cli import commands
from dm_replay.cli.__main__ import main
from dm_replay.condensed.image_set import ImageSet
from dm_replay.runtime.files import LOCK

SMALL = ["--network", "convnet:width=4,depth=1", "--device", "cpu", "--compile", "no", "--quiet"]
CONDENSE = ["condense", *SMALL, "--preset", "paper", "--ipc", "2", "--iterations", "4", "--batch-real", "4"]


def spoilt(content):
    """A file cut at several lengths, replaced by noise, and with wrong bytes."""
    noise = random.Random(0)
    yield from (content[:length] for length in (0, 1, 10, 100, len(content) // 2, len(content) - 30, len(content) - 2))
    yield noise.randbytes(300)


@pytest.mark.parametrize("name", ["condensed.pt", "run.json"])
def test_spoilt_files(finished, refused, tmp_path, name):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for content in spoilt((finished / name).read_bytes()):
        (run / name).write_bytes(content)
        assert name in refused("condense", "--resume", "--out", run)
        if name == "condensed.pt":
            for command in (["evaluate", *SMALL], ["show", "--out", tmp_path / "x.png"]):
                assert "condensed.pt is not an image set" in refused(*command, run)
            for kind in ("npz", "imagefolder"):
                assert "not an image set" in refused("export", run, "--format", kind, "--out", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_spoilt_checkpoint(finished, refused, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for content in spoilt((finished / "condensed.pt").read_bytes()):
        (run / "checkpoint.pt").write_bytes(content)
        assert "checkpoint.pt is not readable" in refused("condense", "--resume", "--out", run)


@pytest.mark.parametrize("value", [None, "x", [1], {"a": 1}, True], ids=str)
@pytest.mark.parametrize("name", ["ipc", "lr_img", "seed", "snapshots", "network"])
def test_values_of_the_wrong_type_in_a_record(finished, refused, tmp_path, name, value):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "settings": {**record["settings"], name: value}}))
    assert name in (said := refused("condense", "--resume", "--out", run))
    assert "is damaged" in said or "unknown network 'x'" in said


def test_a_record_without_timings(finished, cli, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    record = json.loads((run / "run.json").read_text())
    for timings in ({}, {"timings": 3}, {"timings": {}}):
        written = {name: value for name, value in record.items() if name != "timings"}
        (run / "run.json").write_text(json.dumps({**written, **timings}))
        assert "20 images of 10 classes" in cli("condense", "--resume", "--out", run)


def test_a_finished_run_without_its_record(finished, refused, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "run.json").unlink()
    assert "run.json is missing" in refused("condense", "--resume", "--out", run)


@pytest.mark.parametrize("content", ['{"scripts": {}}', "[1]", "not json"])
def test_a_record_of_another_program(refused, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    for words in ([], ["--overwrite"], ["--resume"]):
        assert "run.json" in refused(*CONDENSE, *words, "--out", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"] and (tmp_path / "run.json").read_text() == content


def test_two_processes_on_one_folder(refused, cli, tmp_path):
    """The second is told of the first; when that is killed, the run can go on."""
    out = tmp_path / "run"
    words = [*CONDENSE, "--iterations", "1000000", "--checkpoint-seconds", "0", "--snapshots", "0", "--out", str(out)]
    first = subprocess.Popen([sys.executable, "-m", "dm_replay.cli", *words])
    try:
        deadline = time.monotonic() + 100
        while not (out / "checkpoint.pt").exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        for more in ([], ["--resume"], ["--overwrite"]):
            assert f"run is in use by process {first.pid} on" in refused(*CONDENSE, *more, "--out", out)
        assert first.poll() is None
    finally:
        first.kill()
        first.wait()
    assert (out / LOCK).exists() and (out / "checkpoint.pt").exists()
    cli(*CONDENSE, "--overwrite", "--out", out)
    assert not (out / LOCK).exists()


def test_a_run_that_was_killed_on_another_machine(cli, tmp_path):
    (tmp_path / LOCK).write_text(json.dumps({"pid": 7, "host": "elsewhere", "since": "2020-01-01 00:00:00"}))
    with pytest.warns(UserWarning, match="was left by process 7 on elsewhere since .*, and is taken over"):
        cli(*CONDENSE, "--out", tmp_path)
    assert (tmp_path / "condensed.pt").exists() and not (tmp_path / LOCK).exists()


def test_the_number_of_snapshots_is_that_of_the_beginning(cli, tmp_path, capsys, monkeypatch):
    from dm_replay.runs.recorder import LossLog

    out, original, calls = tmp_path / "run", LossLog.note, []

    def note(loss_log, loss):
        calls.append(loss)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        original(loss_log, loss)

    with monkeypatch.context() as patch:
        patch.setattr(LossLog, "note", note)
        assert main([*CONDENSE, "--iterations", "6", "--snapshots", "2", "--out", str(out)]) == 130
    cli("condense", "--resume", "--out", out, "--quiet")
    assert sorted(path.stem for path in (out / "images").iterdir()) == ["iter_000001", "iter_000003", "iter_000006"]


def test_home_is_found_in_every_path(finished, cli, tmp_path, monkeypatch):
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, home / "old")
    cli(*CONDENSE, "--out=~/new")
    cli("show", "~/old", "--out=~/grid.png")
    cli("export", "~/old/condensed.pt", "--format=npz", "--out=~/x.npz")
    assert sorted(path.name for path in home.iterdir()) == ["grid.png", "new", "old", "x.npz"]
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize("channels", [2, 4])
def test_sets_of_other_numbers_of_channels(cli, tmp_path, channels):
    ImageSet.from_images(torch.randn(4, channels, 8, 8), torch.tensor([0, 0, 1, 1])).save(tmp_path / "set.pt")
    cli("show", tmp_path / "set.pt", "--out", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.format == "PNG" and picture.height > 2 * 48
    cli("export", tmp_path / "set.pt", "--format", "npz", "--out", tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError("Unable to allocate 8.00 TiB for an array"), "not enough memory for another 8.00 TiB: lower --cl"),
        (MemoryError(), "not enough memory: lower --classes or --per-class"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0"),
            "for another 2.00 GiB: lower",
        ),
        (
            RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4294967296 bytes."),
            "another 4 GiB",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory: lower --classes"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_lack_of_memory(refused, monkeypatch, error, words):
    def show(argv):
        raise error

    monkeypatch.setattr(commands, "show", show)
    assert words in refused("show")


def test_other_faults_are_not_hidden(monkeypatch):
    def show(argv):
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(commands, "show", show)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        main(["show"])


def test_a_warning_is_one_line_too():
    code = (
        "import sys, warnings; from dm_replay.cli import commands, __main__ as c;"
        "commands.show = lambda argv: warnings.warn('of\\nsomething'); c.main(['show']); warnings.warn('usual')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[0] == "dm-replay: warning: of something" and "UserWarning: usual" in ended.stderr
