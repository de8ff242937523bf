"""Datasets: the real ones where they lie under DM_DATA, and small made-up files of every other kind."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dm_replay.data.registry import data_root, load_dataset, names

OFFICIAL = {
    "cifar10": ((3, 32, 32), 50_000, 10_000, 10),
    "cifar100": ((3, 32, 32), 50_000, 10_000, 100),
    "mnist": ((1, 28, 28), 60_000, 10_000, 10),
    "fashionmnist": ((1, 28, 28), 60_000, 10_000, 10),
}


def picture(path, size=(12, 10), value=0, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 255)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of two training and one test image, 12 wide and 10 high."""
    for number, name in enumerate(("ant", "bee")):
        for item in range(2):
            picture(tmp_path / "train" / name / f"{item}.png", value=100 * number + item)
        picture(tmp_path / "test" / name / "0.png", value=100 * number)
    return tmp_path


def arrays(images_shape=(6, 8, 8, 3), dtype=np.uint8, labels=(0, 0, 2, 2, 7, 7)):
    images = np.arange(np.prod(images_shape)).reshape(images_shape) % 251
    half = {"test_images": images.astype(dtype), "test_labels": np.array(labels)}
    return {"images": images.astype(dtype), "labels": np.array(labels), **half}


def write_npz(path, **content):
    np.savez(path, **content)
    return path


def test_digits_need_no_files_and_are_split_by_class():
    train, test, spec = load_dataset("digits")
    assert (len(train), len(test), train.shape) == (1347, 450, (1, 8, 8))
    assert train.images.dtype == torch.uint8 and train.images.max() == 255
    assert (test.counts - 45).abs().max() <= 2
    assert not spec.flip_invariant and not train.flip_invariant and spec.classes == tuple("0123456789")
    drawn = train.take(torch.arange(len(train)))
    assert drawn.mean().abs() < 1e-3 and (drawn.std() - 1).abs() < 1e-3
    assert torch.equal(train.images, load_dataset("digits").train.images)


@pytest.mark.parametrize("name", OFFICIAL)
def test_official_files(name):
    try:
        train, test, spec = load_dataset(name)
    except ValueError as error:
        pytest.skip(str(error))
    shape, training, testing, classes = OFFICIAL[name]
    assert (train.shape, len(train), len(test), len(spec.classes)) == (shape, training, testing, classes)
    assert train.images.dtype == torch.uint8 and train.images.is_contiguous()
    assert train.mean == spec.mean and spec.shape == shape
    some = train.take(torch.arange(2000))
    assert some.mean().abs() < 0.1 and 0.8 < some.std() < 1.3
    assert spec.flip_invariant == train.flip_invariant == test.subset([0]).flip_invariant == (name != "mnist")


def test_svhn_as_torchvision_reads_it(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    scipy_io = pytest.importorskip("scipy.io")
    for part, count in (("train", 5), ("test", 3)):
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, count), np.uint8)
        labels = np.arange(10, 10 - count, -1, dtype=np.uint8)[:, None]
        scipy_io.savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": labels})
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    train, test, spec = load_dataset("svhn", tmp_path)
    assert train.images.shape == (5, 3, 32, 32) and test.images.shape == (3, 3, 32, 32)
    assert train.labels.tolist() == [0, 9, 8, 7, 6] and not spec.flip_invariant


@pytest.mark.parametrize("testing", ["test", "val"])
def test_image_folder(folder, testing):
    (folder / "test").rename(folder / testing)
    train, test, spec = load_dataset("imagefolder", folder)
    assert train.images.shape == (4, 3, 10, 12) and test.images.shape == (2, 3, 10, 12)
    assert train.images[:, 0, 0, 0].tolist() == [0, 1, 100, 101] and (train.images[:, 2] == 255).all()
    assert train.labels.tolist() == [0, 0, 1, 1] and spec.classes == ("ant", "bee")
    assert spec.mean == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("hidden", ["._0.png", ".ipynb_checkpoints/0.png", "__MACOSX/0.png", ".DS_Store"])
def test_hidden_files_and_folders_are_neither_images_nor_classes(folder, hidden):
    for place in (folder / "train", folder / "train" / "ant", folder / "test", folder / "test" / "bee" / "deep"):
        (place / hidden).parent.mkdir(parents=True, exist_ok=True)
        (place / hidden).write_bytes(b"resource fork")
    train, test, spec = load_dataset("imagefolder", folder)
    assert (len(train), len(test), spec.classes) == (4, 2, ("ant", "bee"))


def test_a_class_without_test_images_keeps_the_labels_of_the_others(folder):
    first = min(path.name for path in (folder / "test").iterdir())
    shutil.rmtree(folder / "test" / first)
    dataset = load_dataset("imagefolder", folder)
    assert dataset.train.classes.tolist() == [0, 1] and dataset.test.classes.tolist() == [1]


def test_image_folder_reads_grey_images_as_colour(folder):
    picture(folder / "train" / "bee" / "gray.png", value=7, mode="L")
    assert (load_dataset("imagefolder", folder).train.images[-1] == 7).all()


def test_tiny_imagenet(tmp_path):
    home = tmp_path / "tiny-imagenet-200"
    for value, code in ((10, "n02"), (20, "n01")):
        picture(home / "train" / code / "images" / f"{code}_0.JPEG", (64, 64), value)
        picture(home / "val" / "images" / f"val_{value}.JPEG", (64, 64), value)
    (home / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn99\tother\n")
    (home / "val" / "val_annotations.txt").write_text("val_10.JPEG\tn02\t0\t0\nval_20.JPEG\tn01\t0\t0\n")
    train, test, spec = load_dataset("tinyimagenet", tmp_path)
    assert spec.classes == ("goldfish", "n02") and spec.shape == (3, 64, 64)
    assert [round(int(v), -1) for v in train.images[:, 0].float().mean((1, 2))] == [20, 10]
    assert torch.equal(train.images, test.images) and train.labels.tolist() == test.labels.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(6, 8, 8, 3), (6, 3, 8, 8), (6, 8, 8), (6, 8, 8, 1), (6, 8, 8, 4), (6, 2, 8, 8)])
def test_npz_layouts(tmp_path, shape):
    file = write_npz(tmp_path / "x.npz", **arrays(shape))
    train, test, spec = load_dataset("npz", file)
    expected = (6, next((c for c in (2, 3, 4) if c in shape), 1), 8, 8)
    assert train.images.shape == test.images.shape == expected
    drawn = train.take(torch.arange(6))
    spread = drawn.std((0, 2, 3), correction=0)
    assert drawn.mean((0, 2, 3)).abs().max() < 1e-4 and (spread - 1).abs().max() < 1e-4
    assert train.classes.tolist() == [0, 2, 7] and spec.classes == ("0", "2", "7")


def test_npz_of_floats_is_taken_as_normalized_and_may_be_named_by_its_folder(tmp_path):
    content = arrays(dtype=np.float64)
    write_npz(tmp_path / "x.npz", **content)
    train, _, spec = load_dataset("npz", tmp_path)
    assert spec.mean is None and train.images.dtype == torch.float32
    assert np.array_equal(train.take(torch.tensor([3]))[0].permute(1, 2, 0).numpy(), content["images"][3])


def test_npz_of_one_colour_is_not_divided_by_zero(tmp_path):
    content = arrays()
    content["images"] = content["test_images"] = np.full((6, 8, 8, 3), 9, np.uint8)
    assert load_dataset("npz", write_npz(tmp_path / "x.npz", **content)).spec.std == (1.0, 1.0, 1.0)


def test_root_comes_from_the_argument_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("DM_DATA", "/elsewhere")
    assert data_root(tmp_path) == tmp_path and str(data_root()) == "/elsewhere"
    monkeypatch.delenv("DM_DATA")
    with pytest.raises(ValueError, match="--root .* DM_DATA"):
        load_dataset("cifar10")


def test_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=f"unknown dataset 'cifar'; choose from {', '.join(names())}"):
        load_dataset("cifar")


@pytest.mark.parametrize("name", ["cifar10", "mnist", "svhn"])
def test_missing_official_files_say_what_was_expected(tmp_path, name):
    with pytest.raises(ValueError, match=r"missing or incomplete in .*expected .*--download") as caught:
        load_dataset(name, tmp_path)
    assert "\n" not in str(caught.value)


def test_incomplete_official_files(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (raw / f"{part}-{kind}-ubyte").write_bytes(b"\0\0\x08\x03")
    with pytest.raises(ValueError, match="MNIST is missing or incomplete"):
        load_dataset("mnist", tmp_path)


def spoil_size(root):
    picture(root / "train" / "bee" / "odd.png", (11, 10))
    return r"unequal size: .*odd\.png is 11x10, .*0\.png is 12x10"


def spoil_test_size(root):
    for path in (root / "test").rglob("*.png"):
        picture(path, (6, 6))
    return "unequal size: .* for training, .* for testing"


def spoil_image(root):
    (root / "train" / "ant" / "0.png").write_bytes(b"no picture")
    return r"cannot read the image .*0\.png"


def truncate_image(root):
    path = root / "train" / "ant" / "1.png"
    path.write_bytes(path.read_bytes()[:-30])
    return r"cannot read the image .*1\.png"


def empty_class(root):
    (root / "train" / "cat").mkdir()
    return "class folder .*cat holds no images"


def strange_class(root):
    picture(root / "test" / "cow" / "0.png")
    return "cow has no counterpart in .*train"


def huge_image(root):
    picture(root / "train" / "bee" / "bomb.png", (60, 50))
    return r"cannot read the image .*bomb\.png: .*pixels"


def large_image(root):
    picture(root / "train" / "bee" / "large.png", (40, 30))
    return r"cannot read the image .*large\.png: 40x30 pixels are more than"


def float_image(root):
    Image.new("F", (12, 10), 0.5).save(root / "train" / "bee" / "map.tif")
    return r"cannot read the image .*map\.tif: its pixels are floats, .* expected 8 or 16 bits"


def no_test(root):
    (root / "test").rename(root / "exam")
    return "expected the folder .*test"


def no_train(root):
    (root / "train").rename(root / "training")
    return "expected the folder .*train"


def no_classes(root):
    for path in (root / "test").iterdir():
        path.rename(root / f"was_{path.name}")
    return "test holds no folders"


WAYS_TO_SPOIL = [
    spoil_size, spoil_test_size, spoil_image, truncate_image, empty_class, strange_class, no_test, no_train,
    no_classes, huge_image, large_image, float_image,
]  # fmt: skip


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("spoil", WAYS_TO_SPOIL)
def test_bad_image_folders(folder, spoil, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    message = spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("imagefolder", folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images .*expected the arrays"),
        ({"images": np.zeros((6, 8, 8, 3), np.int32)}, "expected images of uint8 .* got int32"),
        ({"images": np.full((6, 3, 8, 8), np.nan)}, "NaN or infinite"),
        ({"images": np.zeros((6, 3, 9, 8))}, "unequal size"),
        ({"images": np.zeros((0, 3, 8, 8), np.uint8), "labels": np.zeros(0, int)}, "at least one image"),
        ({"images": np.zeros((6, 8), np.uint8)}, r"expected images \(N, C, H, W\)"),
        ({"labels": np.zeros(5, int)}, r"labels \(N,\)"),
        ({"labels": np.full(6, 0.5)}, r"x\.npz: label 0\.5 of image 0 is not a whole number"),
        ({"labels": np.array(["a"] * 6)}, "expected integer labels, got <U1"),
        ({"labels": np.array([0, 0, 1, -1, 2, 2])}, r"x\.npz: label -1 of image 3 is negative"),
        (
            {"labels": np.array([0, 0, 1, 2**63, 2, 2], np.uint64)},
            "label 9223372036854775808 of image 3 is beyond int64",
        ),
        ({"images": np.zeros((6, 4, 4, 4), np.uint8)}, r"x\.npz: cannot tell which axis of images \(6, 4, 4, 4\)"),
        ({"labels": np.array([{}] * 6)}, "not a readable npz file of plain arrays"),
    ],
)
def test_bad_npz(tmp_path, change, message):
    content = {name: array for name, array in {**arrays(), **change}.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        load_dataset("npz", write_npz(tmp_path / "x.npz", **content))


def test_npz_that_is_none(tmp_path):
    with pytest.raises(ValueError, match="exactly one; .* has 0"):
        load_dataset("npz", tmp_path)
    with pytest.raises(ValueError, match="no such file or folder"):
        load_dataset("npz", tmp_path / "absent.npz")
    for content in (b"text", b"PK\x03\x04 cut short", b""):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(ValueError, match="not a readable npz file"):
            load_dataset("npz", tmp_path / "x.npz")
    with open(tmp_path / "x.npz", "wb") as single:
        np.save(single, np.zeros(3))
    with pytest.raises(ValueError, match="not a readable npz file"):
        load_dataset("npz", tmp_path / "x.npz")


def test_digits_do_not_wait_for_torchvision():
    code = "import sys, dm_replay.data.registry as d; d.load_dataset('digits'); sys.exit('torchvision' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
