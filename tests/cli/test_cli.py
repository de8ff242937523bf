"""The command line: what it writes, and what it says to bad input."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dm_replay.cli.__main__ import main
from dm_replay.condensed.image_set import ImageSet
from dm_replay.data.registry import load_dataset
from dm_replay.runs.recorder import LossLog

SMALL = ["--network", "convnet:width=4,depth=1", "--device", "cpu", "--compile", "no", "--quiet"]
CONDENSE = ["condense", *SMALL, "--preset", "paper", "--ipc", "2", "--iterations", "4", "--batch-real", "4"]
WITHOUT_FLIP = "color_crop_cutout_scale_rotate"
EVALUATE = ["evaluate", *SMALL, "--runs", "2", "--epochs", "2"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}


def write_npz(path, classes=(0, 1), per_class=3, shape=(1, 8, 8), **changes):
    labels = np.repeat(classes, per_class)
    images = np.random.default_rng(0).integers(0, 256, (len(labels), *shape), np.uint8)
    content = {"images": images, "labels": labels, "test_images": images, "test_labels": labels, **changes}
    np.savez(path, **content)
    return path


def write_folder(root, sizes=((8, 8), (8, 8))):
    for part in ("train", "test"):
        for number, size in enumerate(sizes):
            path = root / part / f"class{number}" / "image.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", size).save(path)
    return root


# What it writes


def test_condense_writes_what_the_settings_say(finished):
    condensed = ImageSet.load(finished / "condensed.pt")
    assert condensed.images.shape == (20, 1, 8, 8) and condensed.classes.tolist() == list(range(10))
    record = json.loads((finished / "run.json").read_text())
    assert record["settings"]["augment"] == WITHOUT_FLIP == condensed.meta["config"]["augment"]
    assert record["settings"]["seed"] == 3 and len(record["losses"]) == 4
    assert len(list((finished / "images").glob("iter_*.png"))) == 4


def test_bytes_of_a_class_hold_images_of_as_many_bytes_as_each_takes(cli, tmp_path):
    words = ["condense", *SMALL, "--extractors", "0", "--iterations", "2", "--bytes-per-class", "200"]
    printed = cli(*words, "--out", str(tmp_path / "run"))
    condensed = ImageSet.load(tmp_path / "run" / "condensed.pt")
    assert f"images of 10 classes, by Dct, {condensed.nbytes:,} bytes" in printed and len(condensed) > 100
    assert all(part.nbytes <= 200 for part in condensed.by_class().values())
    assert "by Dct" in cli("show", str(tmp_path / "run"), "--out", str(tmp_path / "grid.png"))


def test_a_resolution_is_condensed_shown_exported_and_compared(cli, tmp_path):
    out = tmp_path / "run"
    cli(*CONDENSE, "--out", out, "--resolution", "4", "--storage", "uint8")
    condensed = ImageSet.load(out / "condensed.pt")
    assert condensed.images.shape == (20, 1, 8, 8) and condensed.nbytes == 20 * (16 + 8)
    report = json.loads(cli(*EVALUATE, out, "--json", "--baseline"))
    assert report["shrunk"]["settings"]["stored_bytes"] == condensed.nbytes
    assert report["random"]["settings"]["images"] == 10, "whole ones in the same bytes, at least one a class"
    cli("export", out, "--format", "npz", "--out", tmp_path / "set.npz")
    assert np.load(tmp_path / "set.npz")["images"].shape == (20, 1, 8, 8)
    cli("show", out, "--out", tmp_path / "grid.png")
    cli("show", out, "--stored", "--out", tmp_path / "stored.png")


def test_top_level_help_and_version(cli):
    for words in ((), ("--help",), ("-h",)):
        shown = cli(*words)
        assert all(command in shown for command in ("condense", "evaluate", "show", "export", "demo"))
    assert cli("--version").startswith("dm-replay 0.")


def test_the_command_line_loads_nothing_heavy():
    code = (
        "import sys, dm_replay.cli.__main__ as c; assert 'torch' not in sys.modules;"
        "c.main(['show', 'absent', '--out', 'x']); assert 'torch' in sys.modules;"
        "sys.exit(any(name in sys.modules for name in ('avalanche', 'matplotlib', 'torchvision')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True).returncode == 0


def test_as_a_module():
    words = [sys.executable, "-m", "dm_replay.cli", "condens"]
    ended = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith("dm-replay: error: unknown command 'condens'; ")


def test_evaluate(cli, finished):
    file = finished / "condensed.pt"
    assert re.match(r"condensed +\d+\.\d\d ± \d+\.\d\d % over 2 networks", cli(*EVALUATE, file, "--dataset", "digits"))
    report = json.loads(cli(*EVALUATE, file, "--json", "--baseline"))
    assert report["dataset"] == "digits" and "versions" in report
    for name in ("condensed", "random"):
        part = report[name]
        assert len(part["accuracies"]) == 2 and part["mean"] == pytest.approx(np.mean(part["accuracies"]))
        assert part["settings"]["epochs"] == 2 and part["settings"]["images"] == 20
        assert part["settings"]["augment"] == WITHOUT_FLIP
    again = json.loads(cli(*EVALUATE, finished, "--json"))
    assert again["condensed"]["accuracies"] == report["condensed"]["accuracies"] and "random" not in again


@pytest.mark.parametrize("encoding", ["ascii", "latin1", "cp1252", "utf8"])
def test_what_stdout_cannot_encode_is_printed_alike(finished, monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert main([*map(str, [*EVALUATE, finished])]) == 0
    sys.stdout.flush()
    printed = written.getvalue().decode(encoding)
    sign = re.escape("+-" if encoding == "ascii" else "±")
    assert re.match(rf"condensed +\d+\.\d\d {sign} \d+\.\d\d % over 2 networks", printed)


def test_show_a_picture_and_an_animation(cli, finished, tmp_path):
    cli("show", finished / "condensed.pt", "--out", tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    assert pixels.shape[0] == 2 + 10 * 50 and pixels.shape[1] >= 2 * 50
    assert "7 classes left out" in cli("show", finished, "--out", tmp_path / "few.png", "--classes", 3)
    assert cli("show", finished, "--out", tmp_path / "run.gif").endswith("4 snapshots\n")
    with Image.open(tmp_path / "run.gif") as animation:
        assert animation.format == "GIF" and animation.n_frames == 4


def test_export_npz(cli, finished, tmp_path):
    cli("export", finished / "condensed.pt", "--format", "npz", "--out", tmp_path / "x")
    condensed = ImageSet.load(finished / "condensed.pt")
    with np.load(tmp_path / "x") as stored:
        assert stored["images"].dtype == np.float32 and np.array_equal(stored["images"], condensed.images.numpy())
        assert stored["labels"].dtype == np.int64 and np.array_equal(stored["labels"], condensed.labels.numpy())


def test_export_image_folder_and_read_it_back(cli, tmp_path):
    names, labels = ["ant", "b/c d", "cow"], torch.tensor([1, 0, 1, 2])
    pixels = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    condensed = ImageSet.from_images(
        (pixels / 255 - 0.5) / 0.25, labels, meta={"mean": [0.5] * 3, "std": [0.25] * 3, "names": names}
    )
    condensed.save(tmp_path / "set.pt")
    for part in ("train", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        cli("export", tmp_path / "set.pt", "--format", "imagefolder", "--out", tmp_path / "data" / part)
    train, _, spec = load_dataset("imagefolder", tmp_path / "data")
    assert spec.classes == ("0_ant", "1_b_c_d", "2_cow") and train.labels.tolist() == [0, 1, 1, 2]
    assert torch.equal(train.images, pixels[[1, 0, 2, 3]])


def test_a_set_of_the_official_code_is_shown_and_exported(cli, refused, tmp_path):
    official = {"data": [[torch.randn(4, 3, 8, 8), torch.tensor([0, 0, 1, 1])]], "accs_all_exps": {}}
    torch.save(official, tmp_path / "res_DM.pt")
    cli("show", tmp_path / "res_DM.pt", "--out", tmp_path / "grid.png")
    cli("export", tmp_path / "res_DM.pt", "--format", "imagefolder", "--out", tmp_path / "pngs")
    assert sorted(path.name for path in (tmp_path / "pngs").iterdir()) == ["0", "1"]
    assert "give --dataset" in refused(*EVALUATE, tmp_path / "res_DM.pt")


def test_other_data_with_gaps_in_the_labels(cli, tmp_path):
    file = write_npz(tmp_path / "x.npz", classes=(3, 70), shape=(12, 12, 3))
    cli(*CONDENSE, "--dataset", "npz", "--root", file, "--out", tmp_path / "run")
    assert ImageSet.load(tmp_path / "run" / "condensed.pt").classes.tolist() == [3, 70]
    cli(*EVALUATE, tmp_path / "run", "--root", file, "--baseline")
    cli("show", tmp_path / "run", "--out", tmp_path / "grid.png")


# Stopped and resumed


def test_ctrl_c_and_resume(cli, capsys, finished, tmp_path, monkeypatch):
    out, original, calls = tmp_path / "run", LossLog.note, []

    def note(loss_log, loss):
        calls.append(loss)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        original(loss_log, loss)

    with monkeypatch.context() as patch:
        patch.setattr(LossLog, "note", note)
        assert main([*CONDENSE, "--out", str(out), "--seed", "3"]) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    resuming = f"dm-replay condense --resume --out {out}"
    assert said == f"dm-replay: stopped after iteration 2 of 4; go on with: {resuming}"
    cli("condense", "--resume", "--out", out, "--quiet")
    resumed, straight = (ImageSet.load(folder / "condensed.pt") for folder in (out, finished))
    assert torch.equal(resumed.images, straight.images)


def test_kill_9_and_resume(cli, finished, tmp_path):
    words = [*CONDENSE, "--iterations", "300", "--checkpoint-seconds", "0", "--snapshots", "0"]
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    process = subprocess.Popen([sys.executable, "-m", "dm_replay.cli", *words, "--out", killed], env=ENVIRONMENT)
    deadline = time.monotonic() + 60
    while not (killed / "checkpoint.pt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    process.kill()
    process.wait()
    assert (killed / "checkpoint.pt").exists() and not (killed / "condensed.pt").exists()
    cli("condense", "--resume", "--out", killed, "--quiet")
    cli(*words, "--out", straight)
    results = [ImageSet.load(folder / "condensed.pt") for folder in (killed, straight)]
    assert torch.equal(results[0].images, results[1].images)
    losses = [json.loads((folder / "run.json").read_text())["losses"] for folder in (killed, straight)]
    assert losses[0] == losses[1] and len(losses[0]) == 300
    assert sorted(p.name for p in killed.iterdir()) == ["condensed.pt", "images", "run.json"]


def test_resume_takes_the_settings_it_was_begun_with_unless_told_otherwise(cli, refused, finished, tmp_path):
    before = (finished / "condensed.pt").read_bytes()
    cli("condense", "--resume", "--out", finished)
    message = refused("condense", "--resume", "--out", finished, "--ipc", "3")
    assert "with ipc 3: it was begun with 2" in message
    other = ["--dataset", "npz", "--root", write_npz(tmp_path / "x.npz")]
    assert "with dataset npz: it was begun with digits" in refused("condense", "--resume", "--out", finished, *other)
    assert (finished / "condensed.pt").read_bytes() == before


# Bad input

BAD_SETTINGS = [
    (["--dataset", "cifar"], "unknown dataset 'cifar'; choose from cifar10, cifar100, digits"),
    (["--network", "convnext"], "unknown network 'convnext'; choose from .*convnet"),
    (["--network", "convnet:heads=2"], "unknown option 'heads' of convnet; choose from activation, depth"),
    (["--network", "convnet:norm=bach"], "unknown norm 'bach'; choose from batch"),
    (["--augment", "color_flop"], "unknown augmentation 'flop'; choose from color, crop"),
    (["--init", "zeros"], "unknown init 'zeros'; choose from real, herding, noise"),
    (["--storage", "int4"], "unknown storage 'int4'; choose from auto, float32"),
    (["--precision", "half"], "unknown precision 'half'; choose from"),
    (["--device", "tpu"], "device 'tpu' cannot be used"),
    (["--ipcs", "3"], "unrecognized arguments: --ipcs 3; choose from --augment, --batch-real, --batch-syn, "),
    (["stray"], "unrecognized arguments: stray"),
    (["--ipc", "0"], "ipc must be a whole number of at least 1, got 0"),
    (["--ipc", "-1"], "ipc must be a whole number of at least 1, got -1"),
    (["--ipc", "ten"], "--ipc: expected a whole number, got 'ten'"),
    (["--ipc"], "expected one argument"),
    (["--iterations", "0"], "iterations must be a whole number of at least 1, got 0"),
    (["--batch-real", "0"], "batch_real must be a whole number of at least 1"),
    (["--lr_img", "nan"], "lr_img"),
    (["--network", "convnet:depth=x"], "depth must be a whole number from 1 to 65536, got x"),
    (["--network", "convnet:width=0"], "width must be a whole number from 1 to 65536, got 0"),
    (["--network", "convnet:width=1.5"], "width must be a whole number from 1 to 65536, got 1.5"),
    (["--device", "meta"], "device 'meta' cannot be used: its tensors hold no values"),
    (
        ["--init", "noise", "--ipc", "100000000000"],
        "not enough memory for another .*iB: lower --memory",
    ),
    (["--memory-budget", "inf"], "memory_budget must be above 0 GiB, got inf"),
    (["--snapshots", "-1"], "snapshots must be a whole number of at least 0, got -1"),
    (["--root", ""], "--root: expected a path, got an empty word"),
    (["--root=~nobody-of-this-name/x"], "--root: no home folder is known for ~nobody-of-this-name/x"),
    (["--ipc", "200"], "class 0 has 133 real images, fewer than ipc 200"),
    (
        ["--dataset", "cifar10", "--root", "/nonexistent"],
        "missing or incomplete in /nonexistent: .*--download",
    ),
    (
        ["--dataset", "imagefolder", "--root", "/nonexistent"],
        "no such file or folder of a dataset: /nonexistent",
    ),
    (["--resume", "--overwrite"], "exclude each other"),
]


@pytest.mark.parametrize(("words", "message"), BAD_SETTINGS, ids=[" ".join(words) for words, _ in BAD_SETTINGS])
def test_bad_settings(refused, tmp_path, words, message):
    assert re.search(message, refused(*CONDENSE, *words, "--out", tmp_path / "run"))
    assert not list(tmp_path.iterdir())


BAD_NPZ = [
    ({"images": np.full((6, 1, 8, 8), np.nan)}, "6 images hold NaN or infinite values, the first is image 0"),
    ({"images": np.full((6, 1, 8, 8), np.inf)}, "NaN or infinite"),
    ({"images": np.zeros((6, 1, 8, 9), np.uint8)}, "images of unequal size"),
    ({"labels": np.array([0, 0, 0, 0, 0, 1])}, "class 1 has 1 real images, fewer than ipc 2"),
    ({"labels": np.zeros(5, int)}, "labels"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_NPZ)
def test_bad_arrays(refused, tmp_path, changes, message):
    file = write_npz(tmp_path / "x.npz", **changes)
    said = refused(*CONDENSE, "--dataset", "npz", "--root", file, "--out", tmp_path / "run")
    assert re.search(message, said)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_bad_folders(refused, tmp_path):
    condense = [*CONDENSE, "--out", tmp_path / "run", "--dataset", "imagefolder", "--root"]
    said = refused(*condense, write_folder(tmp_path / "sizes", ((8, 8), (8, 9))))
    assert "unequal size" in said and "class1/image.png is 8x9" in said
    root = write_folder(tmp_path / "empty")
    (root / "train" / "class1" / "image.png").unlink()
    assert "class1 holds no images" in refused(*condense, root)
    (root / "train").rename(root / "trains")
    assert "expected the folder" in refused(*condense, root)
    assert not (tmp_path / "run").exists()


def test_missing_root(refused, tmp_path, monkeypatch):
    monkeypatch.delenv("DM_DATA", raising=False)
    assert "give --root" in refused(*CONDENSE, "--dataset", "mnist", "--out", tmp_path / "run")


def test_bad_out(refused, finished, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is a file; expected a folder" in refused(*CONDENSE, "--out", tmp_path / "file")
    assert "holds a finished run" in refused(*CONDENSE, "--out", finished)
    assert "add --out FOLDER (folder of the run)" in refused(*CONDENSE)
    for words in (["show", finished], ["export", finished, "--format", "npz"]):
        assert "no such folder to write to" in refused(*words, "--out", tmp_path / "absent" / "x.png")
        assert "directory" in refused(*words, "--out", tmp_path).lower()
    assert "exists already" in refused("export", finished, "--format", "imagefolder", "--out", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "mine"


class Code:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("command", [EVALUATE, ["show"], ["export", "--format", "npz"]], ids=lambda words: words[0])
def test_a_file_that_is_not_a_condensed_set(refused, tmp_path, command):
    torch.save({"data": Code(tmp_path / "executed")}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "model.pt")
    (tmp_path / "text.pt").write_text("text")
    out = [] if command is EVALUATE else ["--out", tmp_path / "out.png"]
    for name in ("code", "list", "model", "text"):
        assert re.search(rf"{name}.pt is (not an|no) image set", refused(*command, tmp_path / f"{name}.pt", *out))
    assert "no such file" in refused(*command, tmp_path / "absent.pt", *out)
    assert "no such file" in refused(*command, tmp_path, *out)
    assert not (tmp_path / "executed").exists() and not (tmp_path / "out.png").exists()


def test_bad_evaluations(refused, finished, tmp_path):
    file = write_npz(tmp_path / "x.npz", shape=(3, 8, 8))
    assert "(1, 8, 8)" in refused(*EVALUATE, finished, "--dataset", "npz", "--root", file)
    assert "class 2 of the set has no test images" in refused(
        *EVALUATE, finished, "--dataset", "npz", "--root", write_npz(tmp_path / "y.npz")
    )
    for words, message in (
        (["--runs", "0"], "runs must be a whole number of at least 1"),
        (["--epochs", "0"], "epochs must be a whole number of at least 1"),
        (["--network", "convnext"], "unknown network"),
        (["--augment", "blur"], "unknown augmentation"),
        (["--dataset", "digit"], "unknown dataset"),
    ):
        assert message in refused(*EVALUATE, finished, *words)


def test_bad_shows_and_exports(refused, finished, tmp_path):
    condensed = ImageSet.load(finished / "condensed.pt")
    condensed.save(tmp_path / "alone.pt")
    for limit in ("classes", "per-class"):
        for number in ("0", "-1"):
            said = refused("show", finished, f"--{limit}", number, "--out", tmp_path / "x.png")
            assert f"{limit.replace('-', '_')} must be at least 1, got {number}" in said
    assert "no snapshots" in refused("show", tmp_path / "alone.pt", "--out", tmp_path / "x.gif")
    assert "npz" in refused("export", finished, "--format", "jpeg", "--out", tmp_path / "x")
    ImageSet.from_images(torch.randn(2, 4, 8, 8), torch.tensor([0, 1])).save(tmp_path / "four.pt")
    said = refused("export", tmp_path / "four.pt", "--format", "imagefolder", "--out", tmp_path / "x")
    assert "imagefolder takes images of 1 or 3 channels, these have 4; use --format npz" in said
    for suffix in (".jpg", ".webp", ""):
        said = refused("show", finished, "--out", tmp_path / f"x{suffix}")
        assert f"x{suffix}: its name must end in .png or .gif" in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.pt", "four.pt"]


def test_full_disk_while_exporting(refused, finished, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "x.npz")

    monkeypatch.setattr(np, "savez", full)
    said = refused("export", finished, "--format", "npz", "--out", tmp_path / "x.npz")
    assert said == "dm-replay: error: No space left on device: x.npz" and not list(tmp_path.iterdir())


def test_unknown_command(refused):
    assert "choose from condense, evaluate, show, export, compare, demo" in refused("condens")
