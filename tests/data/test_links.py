"""Image folders with links, and with what has a picture's name and is none."""

import os

import pytest
import torch
from PIL import Image

from dm_replay.data.registry import load_dataset


def picture(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 5), (value, 0, 255)).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes of two training images and one test image."""
    root = tmp_path / "data"
    for number, name in enumerate(("ant", "bee")):
        for item in range(2):
            picture(root / "train" / name / f"{item}.png", 100 * number + item)
        picture(root / "test" / name / "0.png", 100 * number)
    return root


def red(root):
    train = load_dataset("imagefolder", root).train
    values = train.take(torch.arange(len(train)))[:, 0, 0, 0].mul(0.229).add(0.485).mul(255).round().int()
    return list(zip(values.tolist(), train.labels.tolist(), strict=True))


PLAIN = [(0, 0), (1, 0), (100, 1), (101, 1)]


def refused(root, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset("imagefolder", root)
    assert "\n" not in str(caught.value)


def test_folders_inside_a_class_are_read_whether_they_are_links_or_not(folder, tmp_path):
    picture(folder / "train" / "ant" / "more" / "deep" / "7.png", 7)
    picture(tmp_path / "elsewhere" / "deep" / "8.png", 8)
    (folder / "train" / "ant" / "x").symlink_to(tmp_path / "elsewhere")
    assert red(folder) == [*PLAIN[:2], (7, 0), (8, 0), *PLAIN[2:]]


def test_links_to_classes_and_to_images(folder, tmp_path):
    picture(tmp_path / "elsewhere" / "8.png", 8)
    (folder / "train" / "ant" / "8.png").symlink_to(tmp_path / "elsewhere" / "8.png")
    (folder / "train" / "cow").symlink_to(tmp_path / "elsewhere")
    assert red(folder) == [*PLAIN[:2], (8, 0), *PLAIN[2:], (8, 2)]


def test_two_links_to_one_folder_are_no_loop(folder, tmp_path):
    picture(tmp_path / "elsewhere" / "8.png", 8)
    for name in ("x", "y"):
        (folder / "train" / "ant" / name).symlink_to(tmp_path / "elsewhere")
    assert red(folder) == [*PLAIN[:2], (8, 0), (8, 0), *PLAIN[2:]]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../.."])
def test_links_back(folder, target):
    (folder / "train" / "ant" / "again").symlink_to(target)
    refused(folder, "ant/again is a link that leads back to a folder that it is in; remove it")


def test_links_back_by_a_detour(folder, tmp_path):
    picture(tmp_path / "elsewhere" / "8.png", 8)
    (tmp_path / "elsewhere" / "back").symlink_to(folder / "train" / "ant")
    (folder / "train" / "ant" / "x").symlink_to(tmp_path / "elsewhere")
    refused(folder, "ant/x/back is a link that leads back to a folder that it is in; remove it")


@pytest.mark.parametrize("target", ["nowhere", "loop"])
@pytest.mark.parametrize("where", ["train/loop", "train/ant/loop", "test/loop", "test/bee/loop"])
def test_links_that_lead_nowhere(folder, where, target):
    (folder / where).symlink_to(target)
    refused(folder, f"{where} is a link that leads nowhere; remove it")


@pytest.mark.parametrize(("target", "reason"), [("nowhere", "No such file"), ("9.png", "Too many levels")])
def test_links_that_should_be_images_and_lead_nowhere(folder, target, reason):
    (folder / "train" / "ant" / "9.png").symlink_to(target)
    refused(folder, f"cannot read the image .*ant/9.png: {reason}")


@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
@pytest.mark.parametrize("where", ["train/ant/9.png", "test/bee/9.png"])
def test_pipes_are_not_waited_for(folder, where):
    os.mkfifo(folder / where)
    refused(folder, f"cannot read the image .*{where}: it is a pipe")


def test_a_folder_with_the_name_of_an_image(folder):
    picture(folder / "train" / "ant" / "9.png" / "7.png", 7)
    assert red(folder) == [*PLAIN[:2], (7, 0), *PLAIN[2:]]
