"""Pools in files: drawn and condensed as from memory, and never read whole."""

import resource
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from sets import random_set
from threads_alive import threads

from dm_replay import CondenseConfig, TensorPool, condense
from dm_replay.data.arrays import mapped_images
from dm_replay.data.registry import load_dataset

CONFIG = CondenseConfig.preset(
    "paper", ipc=2, iterations=4, batch_real=6, network="convnet:width=8,depth=1", device="cpu", compile="no"
)
MIB = 2**20


@pytest.fixture
def mapped(pool, tmp_path):
    """The same pool, its images in a file."""
    np.save(tmp_path / "images.npy", pool.images.numpy())
    return TensorPool.map(tmp_path / "images.npy", pool.labels, pool.mean, pool.std)


@pytest.fixture
def huge(tmp_path):
    """2 GiB of pixels of 400 classes in a file with no blocks: (174,762, 3, 64, 64) zeros."""
    shape = (2048 * MIB // (3 * 64 * 64), 3, 64, 64)
    np.lib.format.open_memmap(tmp_path / "huge.npy", "w+", np.uint8, shape)
    return TensorPool.map(tmp_path / "huge.npy", torch.arange(shape[0]) % 400, (0.5,) * 3, (0.2,) * 3)


@contextmanager
def memory_of_at_most(extra):
    """So many bytes beyond those in use; read-only maps of files do not count."""
    lines = Path("/proc/self/status").read_text().splitlines()
    used = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmData"))
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (used + extra, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def test_draws_are_those_of_the_pool_in_memory(pool, mapped):
    generator = [torch.Generator().manual_seed(1) for _ in range(2)]
    assert mapped.mapped and not pool.mapped
    assert torch.equal(mapped.draw([2, 9], 5, generator[0]), pool.draw([2, 9], 5, generator[1]))


def test_parts_of_parts(pool, mapped):
    part, expected = mapped.subset([2, 9]).subset([9]), pool.subset([9])
    everything = torch.arange(len(part))
    assert len(part) == 9 and part.mapped and part.images.data_ptr() == mapped.images.data_ptr()
    assert torch.equal(part.take(everything), expected.take(everything))
    assert torch.equal(random_set(part, 3).images, random_set(expected, 3).images)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("budget", [1e-4, 4.0])
def test_reading_ahead_changes_no_pixel(pool, mapped, norm, budget):
    config = CondenseConfig.preset(
        "paper", **{**vars(CONFIG), "network": f"convnet:width=8,norm={norm}", "memory_budget": budget}
    )
    states = []
    expected = condense(pool, config, seed=1).images
    assert torch.equal(condense(mapped, config, seed=1, on_step=lambda p: states.append(p.state)).images, expected)
    assert torch.equal(condense(mapped, config, seed=1, state=states[1]).images, expected)
    assert torch.equal(condense(mapped.subset([2, 9]), config).images, condense(pool.subset([2, 9]), config).images)
    assert not threads()


def test_an_error_while_reading_ends_the_run(mapped, monkeypatch):
    def failing(indices):
        raise OSError("the disk is gone")

    monkeypatch.setattr(mapped, "gather", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        condense(mapped, CondenseConfig.preset("paper", **{**vars(CONFIG), "init": "noise"}))
    assert not threads()


def test_a_stop_ends_the_thread(mapped):
    def stop(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        condense(mapped, CONFIG, on_step=stop)
    assert not threads()


@pytest.mark.skipif(sys.platform != "linux", reason="limits a process's memory as Linux does")
def test_a_pool_larger_than_memory(huge):
    """2 GiB of pixels with 512 MiB to spare: cut, drawn, condensed and tested on."""
    config = CondenseConfig.preset(
        "paper", **{**vars(CONFIG), "ipc": 1, "iterations": 1, "batch_real": 32, "memory_budget": 0.05}
    )
    with memory_of_at_most(512 * MIB):
        with pytest.raises(RuntimeError, match="memory"):
            huge.images.clone()
        part = huge.subset(range(0, 400, 2))
        assert len(part) == len(huge) // 2 and part.to("cpu") is part
        assert len(condense(part, config)) == 200


@pytest.mark.parametrize("shape", [(6, 4, 5, 3), (6, 3, 4, 5), (6, 4, 5), (6, 5, 5, 4)])
def test_a_folder_of_arrays(tmp_path, shape):
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        np.save(tmp_path / f"{part}_images.npy", generator.integers(0, 256, shape, dtype=np.uint8))
        np.save(tmp_path / f"{part}_labels.npy", np.array([0, 0, 1, 1, 2, 2]))
    mapped = load_dataset("mapped", tmp_path)
    parts = {"images": "train_images", "labels": "train_labels", "test_images": "test_images"}
    arrays = {name: np.load(tmp_path / f"{file}.npy") for name, file in {**parts, "test_labels": "test_labels"}.items()}
    np.savez(tmp_path / "all.npz", **arrays)
    whole = load_dataset("npz", tmp_path / "all.npz")
    assert mapped.train.mapped and mapped.test.mapped and mapped.spec.mean == pytest.approx(whole.spec.mean)
    indices = torch.tensor([[5, 0], [3, 3]])
    assert torch.equal(mapped.train.take(indices), whole.train.take(indices))


def test_files_that_are_not_images(tmp_path):
    with pytest.raises(ValueError, match="no such file of images: .*absent.npy"):
        mapped_images(tmp_path / "absent.npy")
    for name, array in (("floats", np.zeros((2, 3, 4, 4))), ("flat", np.zeros((2, 48), np.uint8))):
        np.save(tmp_path / name, array)
        with pytest.raises(ValueError, match=rf"{name}.npy: expected uint8 pixels \(N, C, H, W\).* got {array.dtype}"):
            mapped_images(tmp_path / f"{name}.npy")
    (tmp_path / "text.npy").write_text("mine")
    with pytest.raises(ValueError, match="text.npy is not a readable .npy file"):
        mapped_images(tmp_path / "text.npy")
    with pytest.raises(ValueError, match="expected a map of uint8 pixels, got torch.float32"):
        TensorPool(torch.zeros(2, 3, 4, 4), [0, 1], mapped=True)
    with pytest.raises(ValueError, match="no such file of images: .*train_images.npy"):
        load_dataset("mapped", tmp_path)
