"""Files of arrays that are damaged, encrypted or crafted: the arrays that were written, or one line."""

import io
import random
import warnings
import zipfile

import numpy as np
import pytest
import torch
from damage import with_bit_flipped

from dm_replay.data.registry import load_dataset

FLAGS = {b"PK\x03\x04": 6, b"PK\x01\x02": 8}  # where an entry's flags stand, in its own header and in the directory's
METHOD = 2  # bytes behind them stands how it is compressed


def arrays():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)
    return {
        "images": images,
        "labels": np.array([0, 0, 0, 1, 1, 1]),
        "test_images": images[::2].copy(),
        "test_labels": np.array([0, 0, 1]),
    }


@pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "compressed"])
def file(request, tmp_path):
    request.param(tmp_path / "data.npz", **arrays())
    assert right_or_refused("npz", tmp_path / "data.npz") == ""
    return tmp_path / "data.npz"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mapped").mkdir()
    for name, array in arrays().items():
        part = name if name.startswith("test") else f"train_{name}"
        np.save(tmp_path / "mapped" / f"{part}.npy", array)
    assert right_or_refused("mapped", tmp_path / "mapped") == ""
    return tmp_path / "mapped"


def right_or_refused(name, path):
    """What the one line says about the file; "" where it was read, and nothing of it had changed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train, test, _ = load_dataset(name, path)
    except ValueError as error:
        assert "\n" not in str(error)
        return str(error)
    expected = arrays()
    for pool, images, labels in ((train, "images", "labels"), (test, "test_images", "test_labels")):
        assert torch.equal(pool.images, torch.from_numpy(expected[images])), "other pixels than were written"
        assert pool.labels.tolist() == expected[labels].tolist(), "other labels than were written"
    return ""


def with_entries(content, change, offset=0):
    """The archive with the two bytes of each entry's flags (or what stands behind them) changed."""
    changed = bytearray(content)
    for start, flags in FLAGS.items():
        place = changed.find(start)
        while place >= 0:
            at = place + flags + offset
            changed[at : at + 2] = change(int.from_bytes(changed[at : at + 2], "little")).to_bytes(2, "little")
            place = changed.find(start, place + 1)
    return bytes(changed)


def test_any_flipped_bit(file):
    content = file.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 500):
        file.write_bytes(with_bit_flipped(content, bit))
        right_or_refused("npz", file)


def test_truncated_anywhere(file):
    content = file.read_bytes()
    for length in range(0, len(content), 7):
        file.write_bytes(content[:length])
        assert right_or_refused("npz", file)


def test_encrypted(file):
    file.write_bytes(with_entries(file.read_bytes(), lambda flags: flags | 1))
    assert "is not a readable npz file of plain arrays" in right_or_refused("npz", file)


@pytest.mark.parametrize("method", [1, 6, 8, 9, 12, 14, 93, 95, 99])
def test_compressed_otherwise_than_it_says_or_than_is_known(file, method):
    content = with_entries(file.read_bytes(), lambda _: method, METHOD)
    same = content == file.read_bytes()
    file.write_bytes(content)
    assert ("is not a readable npz file of plain arrays" in right_or_refused("npz", file)) != same


HEADERS = [
    "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 1, 8, 8)",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 1, 8, 8",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (10**18, 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (9" + "0" * 12 + ", 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (9" + "0" * 20 + ", 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-6, 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 1, 8, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (6, 1, 0, 8)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': ()}",
    "{'descr': '|u1', 'fortran_order': 3, 'shape': (6, 1, 8, 8)}",
    "{'descr': '|O', 'fortran_order': False, 'shape': (6, 1, 8, 8)}",
    "{'descr': '|V7', 'fortran_order': False, 'shape': (6, 1, 8, 1)}",
    "{'descr': '<M8[s]', 'fortran_order': False, 'shape': (6, 1, 8, 1)}",
    "{'descr': '<c8', 'fortran_order': False, 'shape': (6, 1, 8, 1)}",
    "{'descr': 'none', 'fortran_order': False, 'shape': (6, 1, 8, 8)}",
    "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (6, 1, 8, 2)}",
    "{'descr': {}, 'fortran_order': False, 'shape': (6, 1, 8, 8)}",
    "{'descr': '|u1', 'shape': (6, 1, 8, 8)}",
    "[1, 2]",
    "1 +",
    "(" * 300,
    "\0",
    "",
    None,
]


def short(header):
    return str(header)[:60].replace("\0", "0")


def crafted(header):
    """The bytes of an .npy file whose header says something else than it holds; of none where there is no header."""
    if header is None:
        return b"no array"
    text = header.encode("latin1")
    padded = text + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + bytes(6 * 8 * 8)


@pytest.mark.parametrize("name", ["images", "test_labels"])
@pytest.mark.parametrize("header", HEADERS, ids=short)
def test_crafted_headers(file, header, name):
    with zipfile.ZipFile(file, "w") as archive:
        for other, array in arrays().items():
            written = io.BytesIO()
            np.save(written, array)
            archive.writestr(f"{other}.npy", crafted(header) if other == name else written.getvalue())
    assert right_or_refused("npz", file)


@pytest.mark.parametrize("name", ["train_images", "test_labels"])
@pytest.mark.parametrize("header", HEADERS, ids=short)
def test_crafted_headers_of_single_arrays(folder, header, name):
    (folder / f"{name}.npy").write_bytes(crafted(header))
    assert right_or_refused("mapped", folder)


def test_other_files_under_their_names(file, folder):
    archive = file.read_bytes()
    for name in ("train_images", "train_labels"):
        whole = (folder / f"{name}.npy").read_bytes()
        (folder / f"{name}.npy").write_bytes(archive)
        assert f"{name}.npy" in right_or_refused("mapped", folder)
        (folder / f"{name}.npy").write_bytes(whole)
    file.write_bytes((folder / "train_images.npy").read_bytes())
    assert "is not a readable npz file" in right_or_refused("npz", file)
