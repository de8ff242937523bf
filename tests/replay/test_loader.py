"""Laws of the mini-batches."""

import copy
import pickle

import pytest
import torch
from sets import of_values

from dm_replay import PLAIN, Dct, ImageSet, Tiles
from dm_replay.augment.siamese import SiameseAugment
from dm_replay.replay.loader import ReplayLoader
from dm_replay.replay.standardize import Standardization

MOSAICS = Tiles(2, "sharp", storage="uint8")


def memory(size=10, shape=(1, 8, 8)):
    images = torch.randn(size, *shape, generator=torch.Generator().manual_seed(0))
    return ImageSet.from_images(images, torch.arange(size), PLAIN.but(storage="uint8"))


def batches(sizes, parts=3, dtype=torch.float32):
    return [[torch.full((n, 1, 8, 8), 7.0, dtype=dtype), *[torch.full((n,), -1)] * (parts - 1)] for n in sizes]


def loader(data, rows, size=10, tasks=None, **options):
    stored = memory(size)
    return ReplayLoader(data, stored, torch.zeros(size).long() if tasks is None else tasks, rows, **options)


@pytest.mark.parametrize("size", [1, 3, 10, 40])
@pytest.mark.parametrize("rows", [1, 8, 10, 32])
def test_every_batch_has_the_current_data_first_and_then_as_many_memory_rows(size, rows):
    sizes = [16, 16, 5]
    out = list(loader(batches(sizes), rows, size))
    assert [len(x) for x, *_ in out] == [n + rows for n in sizes]
    for n, (x, y, t) in zip(sizes, out, strict=True):
        assert (x[:n] == 7).all() and (y[:n] == -1).all() and (t[:n] == -1).all()
        torch.testing.assert_close(x[n:], memory(size).images[y[n:]], rtol=0, atol=0)


@pytest.mark.parametrize("rows", [3, 7, 10, 25])
def test_no_image_is_more_than_one_turn_ahead(rows):
    dealt = torch.zeros(10)
    for _, y, _ in loader(batches([1] * 30), rows):
        dealt += torch.bincount(y[1:], minlength=10)
        assert dealt.max() - dealt.min() <= 1


def test_epochs_go_on_dealing_in_a_new_order():
    again = loader(batches([1] * 5), 2)
    first, second = ([y[1:].tolist() for _, y, _ in again] for _ in range(2))
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(10))
    assert first != second
    unshuffled = loader(batches([1] * 5), 2, shuffle=False)
    assert [y[1:].tolist() for _, y, _ in unshuffled] == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9]]


def test_only_the_memory_is_augmented_and_each_image_for_itself():
    plain, changed = (
        next(iter(loader(batches([6]), 8, 1, seed=3, augment=augment)))
        for augment in (None, SiameseAugment(("crop", "cutout")))
    )
    assert torch.equal(plain[0][:6], changed[0][:6])
    assert len(changed[0][6:].flatten(1).unique(dim=0)) > 4, "eight copies of one image, eight draws"
    assert len(plain[0][6:].flatten(1).unique(dim=0)) == 1


@pytest.mark.parametrize("parts", [2, 3])
def test_batches_keep_their_number_of_parts(parts):
    assert [len(batch) for batch in loader(batches([4], parts), 2)] == [parts]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_memory_takes_the_precision_of_the_data(dtype):
    (batch,) = loader(batches([4], dtype=dtype), 2)
    assert batch[0].dtype == dtype and batch[1].dtype == torch.int64


def test_nothing_carries_a_gradient():
    (batch,) = loader(batches([4]), 2, augment=SiameseAugment())
    assert not batch[0].requires_grad


def test_tasks_share_the_memory_rows():
    tasks = torch.tensor([0] * 7 + [1] * 2 + [5])
    for _, _, t in loader(batches([2] * 4), 8, tasks=tasks, task_balanced=True):
        assert [int((t[2:] == task).sum()) for task in (0, 1, 5)] == [3, 3, 2]
    with pytest.raises(ValueError, match="at least 1 for each of 3 tasks, got 2"):
        loader([], 2, tasks=tasks, task_balanced=True)


def test_other_batches_are_refused_in_a_line():
    with pytest.raises(ValueError, match="got 4 parts"):
        next(iter(loader(batches([2], 4), 2)))


def test_same_seed_same_batches():
    one, same, other = (
        next(iter(loader(batches([2]), 8, seed=seed, augment=SiameseAugment())))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_augmentation_acts_in_the_standardized_space():
    """Cutout is to the mean of the data, and color a part of its deviation."""
    space = Standardization(torch.tensor([100.0]), torch.tensor([40.0]))
    stored = space.leave(memory())
    common = dict(rows=8, augment=SiameseAugment(("color", "cutout")), seed=3)
    zeros = torch.zeros(10).long()
    (there,) = ReplayLoader(batches([2]), stored, zeros, **common)
    (here,) = ReplayLoader(batches([2]), memory(), zeros, **common)
    torch.testing.assert_close(there[0][2:], space.undo(here[0][2:]), rtol=1e-4, atol=1e-3)
    assert (there[0][2:] == 100).any(), "the mean, exactly"
    (plain,) = ReplayLoader(batches([2]), stored, zeros, 8, shuffle=False)
    assert torch.equal(plain[0][2:], stored.folded().images[:8])


def test_current_bytes_are_followed_by_bytes():
    space = Standardization(torch.tensor([128.0]), torch.tensor([90.0]))
    stored = space.leave(memory())
    (batch,) = ReplayLoader(batches([2], dtype=torch.uint8), stored, torch.zeros(10).long(), 10, shuffle=False)
    assert batch[0].dtype == torch.uint8 and (batch[0][:2] == 7).all()
    assert torch.equal(batch[0][2:].float(), stored.images.round().clamp(0, 255))
    assert stored.images.max() > 255, "or there was nothing to clamp"


def mosaics(space=None):
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    stored = ImageSet.from_images(images, torch.zeros(1), MOSAICS)
    return stored if space is None else space.leave(stored)


@pytest.mark.parametrize("part, changed", [(0.0, []), (0.5, [1, 3]), (0.4, [2, 4]), (1.0, [0, 1, 2, 3, 4])])
def test_a_part_of_the_current_images_gets_the_memorys_resolution(part, changed):
    current = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    common = dict(rows=3, match_resolution=part)
    ((x, y),) = ReplayLoader([(current, torch.arange(5))], mosaics(), torch.zeros(1).long(), **common)
    assert [row for row in range(5) if not torch.equal(x[row], current[row])] == changed
    torch.testing.assert_close(x[changed], MOSAICS.resample(current[changed]))
    assert y[:5].tolist() == [0, 1, 2, 3, 4] and len(x) == 8


def test_current_images_become_as_rough_as_those_in_codes():
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)).cumsum(2).cumsum(3) / 10
    codec = Dct(2.0).fit((3, 16, 16))
    space = Standardization(torch.tensor([1.0, 2, 3]), torch.tensor([2.0, 3, 4]))
    memory, current = space.leave(ImageSet.from_images(images[:4], torch.zeros(4), codec)), space.undo(images[4:])
    ((x, _),) = ReplayLoader([(current, torch.arange(4))], memory, torch.zeros(4).long(), 2, match_resolution=0.5)
    rough = space.leave(ImageSet.from_images(images[4:], torch.zeros(4), codec)).images
    torch.testing.assert_close(x[[1, 3]], rough[[1, 3]], atol=1e-4, rtol=1e-4)
    assert torch.equal(x[[0, 2]], current[[0, 2]]) and not torch.allclose(rough, current, atol=0.5)


def test_grey_images_beside_a_memory_of_color_are_one_line():
    gray = torch.randn(4, 1, 16, 16)
    loader = ReplayLoader([(gray, torch.arange(4))], mosaics(), torch.zeros(1).long(), 2, match_resolution=0.5)
    with pytest.raises(ValueError, match=r"memory are \(3, 16, 16\), the current ones \(1, 16, 16\)"):
        next(iter(loader))


def test_bytes_are_resampled_as_what_they_stand_for():
    """In the space that is condensed in; and come back as bytes."""
    space = Standardization(torch.tensor([120.0, 90, 60]), torch.tensor([50.0, 60, 70]))
    current = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    data = [(current, torch.arange(4))]
    ((x, _),) = ReplayLoader(data, mosaics(space), torch.zeros(1).long(), 1, match_resolution=1.0)
    wanted = space.undo(MOSAICS.resample(space.apply(current.float())))
    assert x.dtype == torch.uint8 and (x[:4].float() - wanted.clamp(0, 255)).abs().max() <= 0.51


@pytest.mark.parametrize("slow", [False, True])
def test_images_that_are_read_once_keep_their_resolution(slow):
    class Slow(Tiles):
        pass

    Slow.slow = slow
    codec, space = Slow(2, storage="uint8"), Standardization(torch.tensor([1.0, 2, 3]), torch.full((3,), 2.0))
    memory = space.leave(ImageSet.from_images(torch.randn(4, 3, 16, 16), torch.zeros(1), codec))
    current = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    data = [(current, torch.arange(5))]
    ((x, _),) = ReplayLoader(data, memory, torch.zeros(1).long(), rows=3, match_resolution=1.0)
    torch.testing.assert_close(x[:5], space.undo(MOSAICS.resample(space.apply(current))))
    assert not torch.allclose(x[:5], current, atol=0.1)


def test_mini_batches_of_one_get_their_part():
    current = torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    data = [(image[None], torch.zeros(1)) for image in current]
    batches = ReplayLoader(data, mosaics(), torch.zeros(1).long(), 2, match_resolution=0.5)
    assert [torch.equal(x[:1], image[None]) for (x, _), image in zip(batches, current, strict=True)] == 3 * [
        True,
        False,
    ]


def test_a_memory_of_full_resolution_leaves_the_current_images():
    """To the bit, of double precision, too."""
    current = torch.rand(6, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    ((x, *_),) = loader([(current, torch.zeros(6))], 2, match_resolution=1.0)
    assert torch.equal(x[:6], current)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_with_the_same_batches(how):
    original = loader(batches([2] * 3), 4, augment=SiameseAugment())
    next(iter(original))
    twin = how(original)
    for one, other in zip(original, twin, strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_large_images_are_decoded_and_augmented_a_few_at_a_time(monkeypatch, generator):
    stored = torch.randn(6, 3, 8, 8, generator=generator)
    space = Standardization(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.5, 1.0, 2.0]))
    memory = space.leave(of_values(stored, torch.arange(6), Tiles(2, "linear", storage="uint8")))

    def replayed():
        loader = ReplayLoader([], memory, torch.zeros(6).long(), rows=9, augment=SiameseAugment())
        return loader.replayed(torch.arange(9))[0]

    whole, taken, right = replayed(), [], ImageSet.decode_before_affine
    monkeypatch.setattr(
        ImageSet, "decode_before_affine", lambda self, rows: taken.append(len(rows)) or right(self, rows)
    )
    monkeypatch.setattr("dm_replay.replay.loader.PIXELS", 4 * 64)
    torch.testing.assert_close(replayed(), whole)
    assert taken == [4, 4, 1]
