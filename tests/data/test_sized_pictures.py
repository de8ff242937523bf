"""Folders of pictures of any size, as ImageNet's, packed at one size."""

import numpy as np
import pytest
import torch
from PIL import Image

from dm_replay import load_dataset
from dm_replay.data.image_files import read_rgb

SIZES = {"a.JPEG": (60, 45), "b.JPEG": (45, 90), "c.png": (33, 33), "d.JPEG": (300, 200), "e.png": (9, 11)}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two classes; a picture is red in its middle square and blue around it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for part in ("train", "val"):
        for code in ("n01440764", "n02102040"):
            folder = tmp_path / "imagenet" / part / code
            folder.mkdir(parents=True)
            for name, (width, height) in SIZES.items():
                side = min(width, height)
                pixels = np.zeros((height, width, 3), np.uint8)
                pixels[..., 2] = 255
                top, left = (height - side) // 2, (width - side) // 2
                pixels[top : top + side, left : left + side] = (255, 0, 0)
                Image.fromarray(pixels).save(folder / name, quality=95)
    return tmp_path


def test_the_middle_square_at_the_size_asked_for(root):
    train, test, spec = load_dataset("imagenet:16", root)
    assert spec.shape == (3, 16, 16) and spec.name == "imagenet:16" and spec.classes == ("n01440764", "n02102040")
    assert len(train) == len(test) == 2 * len(SIZES)
    pixels = train.raw(torch.arange(len(train)))[:, :, 2:14, 2:14].float()
    assert pixels[:, 0].min() > 220 and pixels[:, 2].max() < 40


def test_imagenets_own_test_folder_has_no_labels_and_is_left_alone(root):
    Image.new("RGB", (9, 9)).save(root / "imagenet" / "train" / "n01440764" / "f.png")
    (root / "imagenet" / "test").mkdir()
    Image.new("RGB", (9, 9)).save(root / "imagenet" / "test" / "1.png")
    assert len(load_dataset("imagenet:8", root).test) == 2 * len(SIZES)


def test_a_folder_that_changes_leaves_no_pack_of_any_size(root):
    for size in (8, 16):
        load_dataset(f"imagenet:{size}", root)
    Image.new("RGB", (9, 9)).save(root / "imagenet" / "train" / "n01440764" / "f.png")
    assert len(load_dataset("imagenet:16", root).train) == 2 * len(SIZES) + 1
    (only,) = (root / ".dm_replay-cache").glob("imagenet*")
    assert only.name.startswith("imagenet-16-")


@pytest.mark.parametrize("name, side", [("imagenet", 64), ("imagenet:32", 32)])
def test_the_usual_size_is_the_papers_and_each_has_a_pack_of_its_own(root, name, side):
    assert load_dataset(name, root).spec.shape == (3, side, side)
    load_dataset("imagenet:8", root)
    packs = sorted(entry.name.rpartition("-")[0] for entry in (root / ".dm_replay-cache").glob("imagenet*"))
    assert packs == sorted([f"imagenet-{side}", "imagenet-8"])


def test_any_folder_of_pictures(root):
    assert load_dataset("imagefolder:24", root / "imagenet").spec.shape == (3, 24, 24)
    with pytest.raises(ValueError, match="images of unequal size"):
        load_dataset("imagefolder", root / "imagenet")


def test_fast_decoding_of_large_jpegs_is_as_good_as_the_slow(tmp_path, generator):
    """A smooth picture twelve times as large, against averaging all of its pixels."""
    x, y = torch.meshgrid(torch.linspace(0, 1, 192), torch.linspace(0, 1, 192), indexing="xy")
    picture = (torch.stack([x, y, (x * 6).sin() / 2 + 0.5], 2) * 255).to(torch.uint8)
    Image.fromarray(picture.numpy()).save(tmp_path / "large.jpg", quality=95)
    exact = picture.permute(2, 0, 1).float().unfold(1, 12, 12).unfold(2, 12, 12).mean((3, 4))
    found = torch.from_numpy(read_rgb(tmp_path / "large.jpg", 16).astype(np.float32))
    assert (found - exact).abs().mean() < 2 and (found - exact).abs().max() < 12


@pytest.mark.parametrize(
    "name, message",
    [
        ("imagenet:4", "expected imagenet:SIZE, in pixels from 8 to 1024, got 'imagenet:4'"),
        ("imagefolder:big", "expected imagefolder:SIZE"),
        ("imagenet:", "expected imagenet:SIZE"),
        ("cifar10:16", "cifar10 has pictures of one size; only imagefolder and imagenet take another"),
        ("imagenets:16", "unknown dataset 'imagenets:16'; choose from cifar10"),
    ],
)
def test_sizes_that_cannot_be(root, name, message):
    with pytest.raises(ValueError, match=message):
        load_dataset(name, root)
