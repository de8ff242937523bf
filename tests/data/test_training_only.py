"""A folder of class folders alone: condensed as any other; who asks for test images is told that there are none."""

import copy
import os
import pickle

import numpy as np
import pytest
from PIL import Image
from sets import random_set

from dm_replay import EvalConfig, ImageSet, evaluate, load_dataset
from dm_replay.cli.__main__ import main
from dm_replay.data import pack_store, packing

SMALL = ["--network", "convnet:width=4,depth=1", "--device", "cpu", "--compile", "no", "--quiet"]


def picture(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(value).integers(0, 60, (8, 8, 3)) + value
    Image.fromarray(noise.astype(np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for number, name in enumerate(("ant", "bee", "cow")):
        for item in range(4):
            picture(tmp_path / "data" / name / f"{item}.png", 60 * number + item)
    picture(tmp_path / "data" / "bee" / "more" / "deep.png", 64)
    return tmp_path / "data"


def test_it_is_read_and_packed_once(folder, monkeypatch):
    first = load_dataset("imagefolder", folder)
    assert first.spec.classes == ("ant", "bee", "cow") and first.train.counts.tolist() == [4, 5, 4]
    monkeypatch.setattr(pack_store, "decoded_blocks", lambda *_: pytest.fail("decoded again"))
    again = load_dataset("imagefolder", folder)
    assert again.spec == first.spec and bool((again.train.images == first.train.images).all())


def test_a_damaged_pack_is_made_anew(folder):
    first = load_dataset("imagefolder", folder)
    (array,) = (folder / ".dm_replay-cache").rglob("train.npy")
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    with pytest.warns(UserWarning, match="is damaged"):
        again = load_dataset("imagefolder", folder)
    assert bool((again.train.images == first.train.images).all())


def test_where_nothing_can_be_packed_it_is_read_into_memory(folder, monkeypatch):
    first = load_dataset("imagefolder", folder)
    monkeypatch.setattr(packing.PackStore, "has_room", lambda *_: False)
    with pytest.warns(UserWarning, match="no place to pack"):
        again = load_dataset("imagefolder", folder, repack=True)
    assert bool((again.train.images == first.train.images).all())


def test_condensing_works_and_evaluating_says_that_there_are_no_test_images(folder, tmp_path, capsys):
    options = ["--dataset", "imagefolder", "--root", str(folder)]
    condense = ["condense", *SMALL, "--preset", "paper", "--ipc", "1", "--iterations", "2", "--batch-real", "4"]
    assert main([*condense, *options, "--out", str(tmp_path / "run")]) == 0
    assert len(ImageSet.load(tmp_path / "run" / "condensed.pt")) == 3
    capsys.readouterr()
    for more in ([], ["--baseline"]):
        assert main(["evaluate", *SMALL, str(tmp_path / "run"), "--root", str(folder), "--epochs", "1", *more]) != 0
        said = capsys.readouterr().err.strip()
        assert said.startswith("dm-replay: error: imagefolder has no test images: expected the") and "\n" not in said


def test_whoever_asks_is_told(folder):
    train, test, spec = load_dataset("imagefolder", folder)
    asks = [
        lambda: evaluate(random_set(train, 1), test, EvalConfig(epochs=1)),
        lambda: len(test),
        lambda: test.shape,
        lambda: test.subset([0]),
        lambda: test.to("cpu"),
    ]
    for ask in asks:
        with pytest.raises(ValueError, match="imagefolder has no test images"):
            ask()
    for twin in (copy.deepcopy(test), pickle.loads(pickle.dumps(test))):
        with pytest.raises(ValueError, match="imagefolder has no test images"):
            len(twin)


def test_parts_of_a_dataset_are_not_taken_for_classes(folder):
    for name in ("ant", "bee", "cow"):
        (folder / "training" / name).mkdir(parents=True)
        for file in (folder / name).glob("*.png"):
            os.rename(file, folder / "training" / name / file.name)
        for left in sorted((folder / name).rglob("*"), reverse=True):
            left.unlink() if left.is_file() else left.rmdir()
        (folder / name).rmdir()
    with pytest.raises(ValueError, match=r"expected the folder .*train, or images in .*training itself"):
        load_dataset("imagefolder", folder)
    assert load_dataset("imagefolder", folder / "training").spec.classes == ("ant", "bee", "cow")


def test_a_class_without_images_and_an_empty_folder_are_one_line(folder, tmp_path):
    (folder / "dog").mkdir()
    with pytest.raises(ValueError, match="class folder .*dog holds no images"):
        load_dataset("imagefolder", folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match="holds no folders"):
        load_dataset("imagefolder", tmp_path / "nothing")
    with pytest.raises(ValueError, match="expected the folder .*train"):
        load_dataset("imagenet", folder)
