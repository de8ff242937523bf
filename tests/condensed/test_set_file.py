"""Files of image sets: those of the official code and old numpy, and damaged ones."""

import random
import zipfile

import numpy as np
import pytest
import torch
from damage import changed, places, with_bit_flipped, without

from dm_replay import PLAIN, ImageSet
from dm_replay.condensed.stored import STORAGES
from dm_replay.runtime.files import save_sealed

OLD, NEW = b"numpy.core.multiarray", b"numpy._core.multiarray"


def official(path, module, accuracies):
    """A ``res_*.pt`` as a numpy wrote it that has its scalars in ``module``."""
    images, labels = torch.randn(4, 3, 4, 4), torch.tensor([0, 0, 1, 1])
    written = path.with_suffix(".any")
    torch.save({"data": [[images, labels]], "accs_all_exps": {"ConvNet": accuracies}}, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(path, "w") as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename.endswith("data.pkl"):
                assert OLD in content or NEW in content
                content = content.replace(NEW, OLD).replace(OLD, module)
            target.writestr(item.filename, content)
    return images


@pytest.mark.parametrize("module", [OLD, NEW])
@pytest.mark.parametrize("number", [np.float64(0.25), np.float32(0.25), np.int64(3), np.bool_(True)])
def test_official_files_of_either_numpy(module, number, tmp_path):
    images = official(tmp_path / "res_DM.pt", module, [number, 0.5])
    assert torch.equal(ImageSet.load(tmp_path / "res_DM.pt").images, images)


def test_other_numpy_values_are_not_made(tmp_path):
    official(tmp_path / "res_DM.pt", OLD, [np.datetime64(1, "D")])
    with pytest.raises(ValueError, match="is not an image set"):
        ImageSet.load(tmp_path / "res_DM.pt")


@pytest.fixture(params=STORAGES)
def file(request, tmp_path):
    meta = {"mean": [0.5], "std": [0.2], "names": ["ant", "bee"]}
    images = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    stored = ImageSet.from_images(images, torch.tensor([0, 0, 1, 1, 1]), PLAIN.but(storage=request.param), meta=meta)
    stored.save(tmp_path / "set.pt")
    assert torch.equal(ImageSet.load(tmp_path / "set.pt").images, stored.images)
    return tmp_path / "set.pt"


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        ImageSet.load(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))


def test_truncated_anywhere(file):
    content = file.read_bytes()
    for length in (*range(0, 64), *range(64, len(content), 61), len(content) - 1):
        file.write_bytes(content[:length])
        refused(file, "is not an image set")


def test_every_flipped_bit_is_found(file):
    content = file.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 300):
        file.write_bytes(with_bit_flipped(content, bit))
        refused(file, "is damaged: its checksum is not that of its content|is not an image set")


def test_a_set_without_a_checksum(file):
    torch.save(torch.load(file, weights_only=True), file)
    refused(file, "is not an image set: it has no checksum")


WRONG = [
    ("stored.pixels", None, "its pixels are NoneType"),
    ("stored.pixels", [1.0], "its pixels are list"),
    ("stored.pixels", torch.zeros(5, 4, 4), r"its pixels are torch.float32 \(5, 4, 4\)"),
    ("stored.pixels", torch.zeros(5, 1, 4, 4, dtype=torch.float64), "its pixels are torch.float64"),
    ("stored.pixels", torch.zeros(5, 1, 4, 4).to_sparse(), "its pixels are"),
    ("stored.scale", torch.zeros(5, 2), r"its scale is torch.float32 \(5, 2\), for torch.\w+ \(5, 1, 4, \d\)"),
    ("stored.scale", "1", "its scale is '1'"),
    ("stored.offset", torch.full((5, 1), float("inf")), "its offset is"),
    ("stored.codes", torch.zeros(5), "it stores pixels, .*codes"),
    ("stored", None, "it has a NoneType of stored images"),
    ("stored", [], "it has a list of stored images"),
    ("labels", torch.zeros(4, dtype=torch.int64), r"its labels are torch.int64 \(4,\)"),
    ("labels", torch.zeros(5), "its labels are torch.float32"),
    ("labels", torch.tensor([0, 0, 1, 1, -1]), "its labels are"),
    ("counts", torch.tensor([1, 2, 3]), r"its counts are torch.int64 \(3,\), for 2 classes"),
    ("counts", torch.tensor([1, -2]), "its counts are"),
    ("counts", [1, 2], "its counts are list"),
    ("shape", (1, 4), "its shape is"),
    ("shape", (1, 4, 0), "its shape is"),
    ("shape", [1, 4, 4], "its shape is"),
    ("shape", (1, 4, 2**40), "its shape is"),
    ("shape", (1, 3, 3), r"it has images of \(1, 4, 4\), larger than \(1, 3, 3\)"),
    ("shape", (2, 4, 4), "its pixels are"),
    ("codec", None, "expected a Codec, got None"),
    ("codec.is", "Mystery", "'Mystery' is not known"),
    ("codec.is", "Dct", "expected the fields"),
    ("codec.more", 1, "expected the fields"),
    ("codec.size", None, "its codec .* does not fit images of"),
    ("codec.tiles", 3, "tiles 3 does not fit 4x4 images"),
    ("meta", None, "its meta is no dictionary"),
    ("meta", {1: 2}, "its meta is no dictionary"),
    ("meta.mean", [0.5, 0.5], "its mean is"),
    ("meta.mean", ["0.5"], "its mean is"),
    ("meta.std", [0.0], "its std is"),
    ("meta.names", "ant", "its names are not a list of texts"),
    ("meta.names", [1], "its names are not a list of texts"),
    ("affine", torch.ones(2, 2), "its affine is"),
    ("more", 1, "expected the entries stored, labels,"),
]


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(("place", "value", "message"), WRONG)
def test_contents_that_do_not_fit(file, place, value, message):
    save_sealed(changed(torch.load(file, weights_only=True), place.split("."), value), file)
    refused(file, f"is no image set, or damaged: {message}")


@pytest.mark.parametrize("storage", ["float32", "float16"])
def test_values_that_are_not_finite(storage, tmp_path):
    images = torch.zeros(5, 1, 4, 4)
    ImageSet.from_images(images, torch.zeros(5), PLAIN.but(storage=storage)).save(tmp_path / "set.pt")
    content, pixels = torch.load(tmp_path / "set.pt"), torch.full_like(images, float("nan"), dtype=STORAGES[storage])
    save_sealed(changed(content, ("stored", "pixels"), pixels), tmp_path / "set.pt")
    refused(tmp_path / "set.pt", "its pixels are not all finite")


def test_missing_entries(file):
    content = torch.load(file, weights_only=True)
    for place in places(content):
        if place and place[0] != "meta" and not isinstance(place[-1], int) or place == ("meta",):
            save_sealed(without(content, place), file)
            refused(file, "is no image set, or damaged: ")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([3], "not a pair of images and labels"),
        ([[torch.zeros(1, 1, 2, 2)]], "not a pair of images and labels"),
        ([["images", "labels"]], "not a pair of images and labels"),
        ([[torch.zeros(2, 1, 2, 2), torch.zeros(3)]], "expected images"),
        ([[torch.zeros(2, 1, 2, 2), torch.tensor([0, -1])]], "label -1 of image 1 is negative"),
        ([[torch.full((1, 1, 2, 2), float("nan")), torch.tensor([0])]], "NaN or infinite"),
        ([[torch.zeros(2, 1, 2, 2, dtype=torch.complex64), torch.tensor([0, 1])]], "its images are"),
    ],
)
def test_official_files_that_do_not_fit(tmp_path, data, message):
    torch.save({"data": data}, tmp_path / "res.pt")
    refused(tmp_path / "res.pt", f"is (a damaged set|no image set, or damaged): .*{message}")
