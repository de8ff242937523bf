"""The examples run, stay short and leave what they say they leave."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dm_replay import ImageSet

HOME = Path(__file__).parents[1]
EXAMPLES = HOME / "examples"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """``example(name, *words)`` runs a script in ``tmp_path``, without a library if asked; returns what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name, *words, without="nothing"):
        environment = {**os.environ, "PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
        begin = f"import runpy, sys; sys.modules[{without!r}] = None; sys.argv = sys.argv[1:]"
        command = [sys.executable, "-c", f"{begin}; runpy.run_path(sys.argv[0], run_name='__main__')"]
        command += [EXAMPLES / f"{name}.py", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_condense(example):
    lines = example("condense", "--ipc", "1", "--iterations", "2", "--epochs", "1", "--runs", "1")
    assert [line.split()[0] for line in lines] == ["condensed", "random"]
    assert len(ImageSet.load("digits.pt")) == 10 and Path("digits.png").is_file()


def test_own_data(example):
    assert example("own_data", "--iterations", "1") == ["shapes.npz: 9 images stand for 300"]
    with np.load("shapes.npz") as written:
        assert written["images"].shape == (9, 3, 16, 16) and written["labels"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_avalanche_replay(example):
    lines = example("avalanche_replay", "--iterations", "1", "--epochs", "1")
    assert [line.split(":")[0] for line in lines] == ["no memory", "condensed replay"]


def test_plain_torch_needs_no_avalanche(example):
    lines = example("plain_torch", "--iterations", "1", "--epochs", "1", without="avalanche")
    assert [line.split(":")[0] for line in lines] == ["0 images in memory", "20 images in memory"]


def test_split_cifar10(example, data_root):
    lines = example("split_cifar10", "--root", data_root, "--seconds", "1", "--images", "300")
    assert [line.split(":")[0] for line in lines] == ["stock, whole images", "real images", "condensed images"]
    assert all(0 <= float(line.split()[-2]) <= 100 for line in lines)


def test_own_reducer(example):
    assert example("own_reducer") == ["10 images, 728 bytes"]


def test_own_codec(example):
    assert example("own_codec") == ["20 images, 488 bytes"]


def test_every_example_is_run_and_can_be_read_at_a_glance():
    scripts = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    tests = [name.removeprefix("test_") for name in globals() if name.startswith("test_")]
    assert all(any(test.startswith(script) for test in tests) for script in scripts)
    assert max(scripts.values()) <= 40
