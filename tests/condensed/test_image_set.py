import errno
import pickle

import numpy as np
import pytest
import torch
from sets import stored_alike

from dm_replay import PLAIN, CondenseConfig, Dct, ImageSet, Tiles, condense
from dm_replay.condensed.stored import STORAGES


def make(labels=(4, 4, 4, 1, 1, 7), storage="float32", shift=0.0, counts=(10, 20, 30)):
    generator = torch.Generator().manual_seed(len(labels))
    images = torch.randn(len(labels), 3, 4, 4, generator=generator) + shift
    codec, about = PLAIN.but(storage=storage), (torch.tensor(counts), {"seed": 3})
    return ImageSet.from_images(images, torch.tensor(labels), codec, *about), images


@pytest.mark.parametrize("storage", STORAGES)
def test_round_trip_through_a_file(storage, tmp_path):
    stored, _ = make(storage=storage)
    stored.save(tmp_path / "set.pt")
    read = ImageSet.load(tmp_path / "set.pt")
    assert stored_alike(read, stored) and torch.equal(read.images, stored.images)
    assert torch.equal(read.labels, stored.labels) and torch.equal(read.counts, stored.counts)
    assert read.meta == {"seed": 3} and read.storage == storage
    torch.load(tmp_path / "set.pt", weights_only=True)


def test_bytes():
    sizes = {storage: make(storage=storage)[0].nbytes for storage in STORAGES}
    assert sizes == {
        "float32": 6 * 48 * 4,
        "float16": 6 * 48 * 2,
        "uint8": 6 * 48 + 6 * 3 * 8,
    }


def test_storage_keeps_values_outside_the_pixel_range():
    stored, images = make(storage="uint8", shift=7.0)
    assert (stored.images - images).abs().max() < 0.02


@pytest.mark.parametrize("storage", STORAGES)
def test_a_set_owns_its_tensors(storage):
    images, labels, counts = torch.randn(4, 1, 2, 4), torch.tensor([0, 0, 1, 1]), torch.tensor([7, 8])
    stored = ImageSet.from_images(images, labels, PLAIN.but(storage=storage), counts)
    expected = stored.images
    images.zero_(), labels.fill_(5), counts.zero_(), stored.images.zero_()
    assert torch.equal(stored.images, expected) and expected.abs().max() > 0
    assert stored.labels.tolist() == [0, 0, 1, 1] and stored.counts.tolist() == [7, 8]


def test_sets_made_while_condensing_do_not_move_with_the_pixels(pool):
    made = []
    config = CondenseConfig.preset(
        "paper", ipc=1, iterations=3, batch_real=4, network="convnet:width=4,depth=1", device="cpu"
    )
    result = condense(pool, config, on_step=lambda progress: made.append((progress.as_set(), progress.images)))
    for snapshot, images in made:
        assert torch.equal(snapshot.images, images)
    assert not torch.equal(made[0][1], made[-1][1]) and torch.equal(result.images, made[-1][1])


def test_numpy_lengths_and_labels():
    stored, _ = make()
    assert stored_alike(stored.prefix(np.int64(2)), stored.prefix(2))
    assert stored_alike(stored.prefix({np.int64(4): np.int32(1)}), stored.prefix({4: 1}))
    assert stored.of_class(np.int64(4)).labels.tolist() == [4, 4, 4]


@pytest.mark.parametrize(("storage", "value"), [("float16", 1e5), ("uint8", 3e38), ("uint8", -3e38)])
def test_values_too_large_for_the_storage_are_refused(storage, value):
    images = torch.tensor([value, -value / 2, 0.0, 1.0]).reshape(1, 1, 2, 2)
    assert ImageSet.from_images(images, torch.tensor([0])).images.equal(images)
    with pytest.raises(
        ValueError, match=f"storage {storage} cannot hold values as large as {abs(value):.0e}".replace("+", ".")
    ):
        ImageSet.from_images(images, torch.tensor([0]), PLAIN.but(storage=storage))


def test_prefix_keeps_order_and_counts():
    stored, images = make()
    cut = stored.prefix(2)
    assert cut.labels.tolist() == [4, 4, 1, 1, 7]
    assert torch.equal(cut.images, images[[0, 1, 3, 4, 5]])
    assert cut.counts.tolist() == [10, 20, 30]
    mixed = stored.prefix({4: 1, 7: 0})
    assert mixed.labels.tolist() == [4, 1, 1] and mixed.classes.tolist() == [1, 4] and mixed.counts.tolist() == [10, 20]
    assert torch.equal(stored.of_class(7).images, images[5:])


def test_merge_adds_the_counts_of_a_class():
    one, _ = make()
    other, _ = make(labels=(1, 9), counts=(5, 6))
    both = ImageSet.merge([one, other])
    assert both.labels.tolist() == [4, 4, 4, 1, 1, 7, 1, 9]
    assert dict(zip(both.classes.tolist(), both.counts.tolist(), strict=True)) == {1: 15, 4: 20, 7: 30, 9: 6}
    with pytest.raises(ValueError, match="cannot merge sets of different codec"):
        ImageSet.merge([one, other.with_storage("uint8")])


def test_it_is_picklable_and_frozen():
    stored, _ = make(storage="uint8")
    assert torch.equal(pickle.loads(pickle.dumps(stored)).images, stored.images)
    with pytest.raises(AttributeError):
        stored.labels = None


def test_reads_the_official_codes_files(tmp_path):
    images, labels = torch.randn(4, 3, 4, 4), torch.tensor([0, 0, 1, 1])
    data = [[torch.zeros_like(images), labels], [images, labels]]
    torch.save({"data": data, "accs_all_exps": {"ConvNet": [np.float64(0.25), 0.5]}}, tmp_path / "res_DM.pt")
    read = ImageSet.load(tmp_path / "res_DM.pt")
    assert torch.equal(read.images, images) and torch.equal(read.labels, labels)
    assert read.meta["experiments"] == 2


class Dangerous:
    def __reduce__(self):
        return (print, ("code ran while loading",))


@pytest.mark.parametrize("content", [b"", b"not a file of tensors", {"a": 1}, [1, 2], Dangerous()])
def test_foreign_files_are_refused_in_one_line(content, tmp_path, capsys):
    path = tmp_path / "foreign.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match="is (not an|no) image set") as caught:
        ImageSet.load(path)
    assert "\n" not in str(caught.value)
    assert "code ran" not in capsys.readouterr().out
    with pytest.raises(ValueError, match="no such file"):
        ImageSet.load(tmp_path / "absent.pt")


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    stored, _ = make()
    path = tmp_path / "set.pt"
    stored.save(path)
    before = path.read_bytes()

    errors = OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")
    for error, message in zip(errors, ("No space left", "is the disk full"), strict=True):

        def full(*args, error=error):
            raise error

        monkeypatch.setattr(torch, "save", full)
        with pytest.raises(OSError, match=message):
            stored.prefix(1).save(path)
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_bad_input():
    with pytest.raises(ValueError, match="unknown storage 'int4'; choose from auto, float32, float16, uint8"):
        make(storage="int4")
    with pytest.raises(ValueError, match="NaN"):
        ImageSet.from_images(torch.full((1, 1, 2, 2), float("inf")), torch.tensor([0]))
    with pytest.raises(ValueError, match="label -1 of image 1 is negative"):
        ImageSet.from_images(torch.zeros(2, 1, 2, 2), torch.tensor([0, -1]))
    with pytest.raises(ValueError, match="label 0.5 of image 0 is not a whole number"):
        ImageSet.from_images(torch.zeros(1, 1, 2, 2), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="expected 3 counts"):
        make(counts=(1, 2))
    with pytest.raises(ValueError, match="nothing to merge"):
        ImageSet.merge([])


@pytest.mark.parametrize("codec", [Tiles(2, "sharp", storage="uint8"), Dct()], ids=str)
def test_a_folded_set_decodes_to_the_same_images(codec):
    images = torch.rand(2 * codec.fit((3, 16, 16)).images_per_stored, 3, 16, 16)
    held = ImageSet.from_images(images, torch.tensor([0, 1]), codec)
    held = held.with_affine(torch.tensor([2.0, 0.5, 3.0]), torch.tensor([1.0, -4.0, 0.2]))
    folded = held.folded()
    assert (folded.affine is None) == isinstance(codec, Tiles)
    assert torch.allclose(folded.images, held.images, atol=1e-5)
    other = torch.rand(2, 3, 16, 16)
    assert torch.allclose(folded.resample(other), held.resample(other), atol=1e-5)
