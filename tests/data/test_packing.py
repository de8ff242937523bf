"""Image folders are decoded once; nothing that happens to the folder, the pack or the process gives wrong pixels."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import with_bit_flipped
from PIL import Image

from dm_replay.cli.__main__ import main
from dm_replay.data import pack_store, packing
from dm_replay.data.image_files import image_folder
from dm_replay.data.registry import load_dataset


def picture(path, value, size=(6, 5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 0, 255)).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two classes of four training and one test image, 6 wide and 5 high, decoded three at a time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(pack_store, "BLOCK", 3 * 3 * 5 * 6)
    root = tmp_path / "data"
    for number, name in enumerate(("ant", "bee")):
        for item in range(4):
            picture(root / "train" / name / f"{item}.png", 100 * number + item)
        picture(root / "test" / name / "0.png", 100 * number)
    return root


@pytest.fixture
def decoded(monkeypatch):
    """The arrays that were decoded, by title."""
    titles = []
    original = pack_store.decoded_blocks

    def counted(files, title, *read):
        titles.append(title)
        return original(files, title, *read)

    monkeypatch.setattr(pack_store, "decoded_blocks", counted)
    monkeypatch.setattr(packing, "decoded_blocks", counted)
    return titles


BOTH = ["packing train", "packing test"]
RED = [0, 1, 2, 3, 100, 101, 102, 103]


def red(pool):
    return pool.take(torch.arange(len(pool)))[:, 0, 0, 0].mul(0.229).add(0.485).mul(255).round().int().tolist()


def load(root, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_dataset("imagefolder", root, **options)


def packs(home):
    return sorted(entry.name for entry in home.iterdir() if entry.name != ".lock")


def pack_of(root):
    (name,) = packs(root / ".dm_replay-cache")
    return root / ".dm_replay-cache" / name


def test_a_folder_is_decoded_once(folder, decoded):
    first, second = load(folder), load(folder)
    assert decoded == BOTH and red(first.train) == red(second.train) == RED
    assert torch.equal(first.test.images, second.test.images) and second.spec == first.spec
    assert not second.train.mapped and second.train.subset([1]).labels.tolist() == [1] * 4
    arrays = [np.load(pack_of(folder) / f"{part}.npy") for part in ("train", "test")]
    assert [array.shape for array in arrays] == [(8, 3, 5, 6), (2, 3, 5, 6)] and arrays[0].dtype == np.uint8


def test_large_parts_are_mapped(folder, monkeypatch):
    small = load(folder)
    monkeypatch.setattr(packing, "IN_MEMORY", (pack_of(folder) / "train.npy").stat().st_size - 1)
    large = load(folder)
    assert large.train.mapped and not large.test.mapped and red(large.train) == red(small.train)
    assert torch.equal(large.train.subset([1]).take(torch.arange(4)), small.train.subset([1]).take(torch.arange(4)))


def add(root):
    picture(root / "train" / "ant" / "9.png", 9)
    return [0, 1, 2, 3, 9, 100, 101, 102, 103]


def remove(root):
    (root / "train" / "ant" / "0.png").unlink()
    return RED[1:]


def rewrite(root):
    file = root / "train" / "ant" / "0.png"
    picture(file, 50)
    os.utime(file, ns=(1, 1))
    return [50, *RED[1:]]


def rename(root):
    (root / "train" / "ant" / "0.png").rename(root / "train" / "ant" / "z.png")
    return [1, 2, 3, 0, *RED[4:]]


def move_to_another_class(root):
    (root / "train" / "ant" / "0.png").rename(root / "train" / "bee" / "z.png")
    return [*RED[1:], 0]


@pytest.mark.parametrize("change", [add, remove, rewrite, rename, move_to_another_class])
def test_a_folder_that_changed_is_packed_anew_and_its_old_pack_goes(folder, decoded, change):
    load(folder)
    old = pack_of(folder)
    expected = change(folder)
    assert red(load(folder).train) == expected and red(load(folder).train) == expected
    assert decoded == 2 * BOTH and pack_of(folder) != old


def test_a_folder_that_moved_keeps_its_pack(folder, decoded, monkeypatch):
    load(folder)
    moved = folder.rename(folder.parent / "moved")
    monkeypatch.chdir(moved)
    for root in (moved, Path("."), Path("../moved")):
        assert red(load(root).train) == RED
    assert decoded == BOTH


def cut_array(pack):
    file = pack / "train.npy"
    file.write_bytes(file.read_bytes()[:-1])


def lengthen_array(pack):
    file = pack / "train.npy"
    file.write_bytes(file.read_bytes() + b"\0")


def remove_array(pack):
    (pack / "test.npy").unlink()


def empty_record(pack):
    (pack / "pack.json").write_text("")


def other_record(pack):
    (pack / "pack.json").write_text("[1, 2]")


def other_format(pack):
    file = pack / "pack.json"
    file.write_text(file.read_text().replace('"format": 1', '"format": 0'))


@pytest.mark.parametrize("spoil", [cut_array, lengthen_array, remove_array, empty_record, other_record, other_format])
def test_a_damaged_pack_is_made_anew(folder, decoded, spoil):
    load(folder)
    spoil(pack_of(folder))
    assert red(load(folder).train) == RED and red(load(folder).train) == RED
    assert decoded == 2 * BOTH


def flipped(file, bit):
    """Flip a bit of a file; returns what it held."""
    content = file.read_bytes()
    file.write_bytes(with_bit_flipped(content, bit))
    return content


def test_every_flipped_bit_of_a_pack_is_found(folder):
    load(folder)
    pack = pack_of(folder)
    key = json.loads((pack / "pack.json").read_text())["key"]
    store = pack_store.PackStore(pack.parent, "imagefolder", key)
    assert store.made and store.is_whole()
    for name in ("train.npy", "test.npy", "pack.json"):
        for bit in random.Random(name).sample(range(8 * (pack / name).stat().st_size), 100):
            content = flipped(pack / name, bit)
            assert not (store.made and store.is_whole()), f"bit {bit} of {name}"
            (pack / name).write_bytes(content)
    assert store.made and store.is_whole()


def flip_a_pixel(pack):
    flipped(pack / "train.npy", 8 * 200)


def flip_in_the_header(pack):
    flipped(pack / "test.npy", 8 * 70)


def other_header(pack):
    file = pack / "train.npy"
    file.write_bytes(b"x" * 10 + file.read_bytes()[10:])


def other_pixels(pack):
    np.save(pack / "train.npy", np.zeros((8, 3, 5, 6), np.uint8))


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("spoil", [flip_a_pixel, flip_in_the_header, other_header, other_pixels])
def test_a_pack_of_other_content_is_made_anew_with_a_word(folder, decoded, monkeypatch, spoil, mapped):
    if mapped:
        monkeypatch.setattr(packing, "IN_MEMORY", 0)
    load(folder)
    spoil(pack_of(folder))
    with pytest.warns(UserWarning, match=r"imagefolder-\w+ is damaged: its checksum .*; packing anew") as caught:
        assert red(load_dataset("imagefolder", folder).train) == RED
    assert "\n" not in str(caught[0].message)
    assert red(load(folder).train) == RED and decoded == 2 * BOTH


def test_repack(folder, decoded):
    load(folder)
    assert red(load(folder, repack=True).train) == RED
    assert decoded == 2 * BOTH
    with pytest.raises(ValueError, match="digits is not packed; repack is for imagefolder, imagenet, tinyimagenet"):
        load_dataset("digits", repack=True)


@pytest.mark.parametrize(("dataset", "error"), [("digits", "digits is not packed"), ("imagefolder", "fewer than ipc")])
def test_repack_on_the_command_line(folder, decoded, capsys, dataset, error):
    load(folder)
    where = ["--root", str(folder), "--out", str(folder / "run")]
    assert main(["condense", "--dataset", dataset, *where, "--repack", "--ipc", "99999"]) == 2
    assert error in capsys.readouterr().err
    assert decoded == (2 if dataset == "imagefolder" else 1) * BOTH


def test_a_corrupt_image_names_itself_and_leaves_nothing(folder):
    (folder / "train" / "bee" / "2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"cannot read the image .*bee/2\.png"):
        load(folder)
    assert packs(folder / ".dm_replay-cache") == []
    (folder / "test" / "bee" / "0.png").unlink()
    (folder / "test" / "bee" / "0.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"cannot read the image .*test/bee/0\.png: No such file"):
        load(folder)


def test_an_interruption_leaves_nothing(folder, monkeypatch):
    original = pack_store.decoded_blocks

    def interrupted(files, title, *read):
        yield next(original(files, title, *read))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pack_store, "decoded_blocks", interrupted)
        load(folder)
    assert packs(folder / ".dm_replay-cache") == []
    assert red(load(folder).train) == RED


@pytest.mark.skipif(sys.platform == "win32", reason="kills itself as POSIX does")
def test_a_process_that_is_killed_leaves_no_pack_and_the_next_one_sweeps(folder):
    code = """
import os, signal, sys
from dm_replay.data import pack_store, registry
original = pack_store.decoded_blocks
def killed(files, title, *read):
    yield next(original(files, title, *read))
    os.kill(os.getpid(), signal.SIGKILL)
pack_store.decoded_blocks = killed
registry.load_dataset("imagefolder", sys.argv[1])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=environment)
    assert done.returncode == -signal.SIGKILL and len(packs(folder / ".dm_replay-cache")) == 1
    assert red(load(folder).train) == RED
    assert pack_of(folder).name.startswith("imagefolder-")


def test_a_full_disk_is_seen_before_and_another_place_is_taken(folder, monkeypatch, decoded):
    full = folder / ".dm_replay-cache"
    usage = pack_store.shutil.disk_usage

    def free(path):
        return usage(path)._replace(free=0) if full.parent == path or full == path else usage(path)

    monkeypatch.setattr(pack_store.shutil, "disk_usage", free)
    assert red(load(folder).train) == RED and red(load(folder).train) == RED
    assert decoded == BOTH and not full.exists()
    (home,) = (folder.parent / "cache" / "dm_replay").iterdir()
    assert len(packs(home)) == 1


def test_a_folder_that_cannot_be_written_is_packed_in_the_users_cache(folder, decoded):
    (folder / ".dm_replay-cache").write_text("a file, where no folder can be made")
    assert red(load(folder).train) == RED and red(load(folder).train) == RED
    assert red(load(folder, repack=True).train) == RED
    assert decoded == 2 * BOTH


def test_without_any_place_the_images_are_read_into_memory(folder, decoded, tmp_path):
    (folder / ".dm_replay-cache").write_text("")
    (tmp_path / "cache").write_text("")
    for _ in range(2):
        with pytest.warns(UserWarning, match="no place to pack .* decoded at each start"):
            train, test, _ = load_dataset("imagefolder", folder)
        assert red(train) == RED and len(test) == 2 and not train.mapped
    assert decoded == 2 * ["reading train", "reading test"]


def test_of_processes_that_start_together_one_does_the_work(folder, decoded):
    threads = [threading.Thread(target=load_dataset, args=("imagefolder", folder)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decoded == BOTH and red(load(folder).train) == RED


def test_repacking_is_done_once_for_processes_that_asked_together(folder, decoded):
    load(folder)
    train, test, _ = image_folder(folder)
    key = json.loads((pack_of(folder) / "pack.json").read_text())["key"]
    stores = [pack_store.PackStore(folder / ".dm_replay-cache", "imagefolder", key) for _ in range(3)]
    for store in stores:
        store.write({"train": train, "test": test}, even_if_whole=True)
    assert decoded == 2 * BOTH


def test_no_more_than_a_block_is_in_memory(folder, monkeypatch):
    for item in range(300):
        picture(folder / "train" / "ant" / f"{item}.png", 7, (48, 48))
    for file in (*(folder / "train" / "bee").iterdir(), *(folder / "test").rglob("*.png")):
        picture(file, 7, (48, 48))
    pixels = 304 * 3 * 48 * 48
    monkeypatch.setattr(pack_store, "BLOCK", pixels // 20)
    monkeypatch.setattr(packing, "IN_MEMORY", 0)
    tracemalloc.start()
    try:
        train = load(folder).train
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert train.mapped and len(train) == 304 and peak < pixels / 3
