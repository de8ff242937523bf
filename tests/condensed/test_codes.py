"""Codes of Dct: images of any shape and size within their bytes, and files, whole, damaged or crafted."""

import copy
import pickle
import random

import pytest
import torch
from damage import changed, with_bit_flipped
from pools import natural, noise
from sets import kept_by

from dm_replay import Dct, ImageSet
from dm_replay.condensed.coded import Coded, bytes_of
from dm_replay.runtime.files import save_sealed

SHAPES = [(3, 32, 32), (1, 28, 28), (2, 8, 8), (5, 8, 8), (3, 64, 64), (3, 224, 224), (3, 31, 17), (3, 1, 1), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["zeros", "one color", "natural", "noise"])
def test_images_of_any_shape_come_back_within_their_bytes(shape, kind):
    count = 2
    images = {
        "zeros": torch.zeros(count, *shape),
        "one color": torch.tensor([0.7, -1.3]).view(2, 1, 1, 1).expand(count, *shape),
        "natural": natural(count, shape) if shape[1] > 1 else torch.ones(count, *shape),
        "noise": noise({0: count}, shape=shape).images,
    }[kind]
    codec, stored, before, after = kept_by(Dct(), images)
    assert stored.costs.tolist() == [bytes_of(code) for code in stored.codes] and stored.costs.max() <= codec.most
    assert after.shape == images.shape and after.isfinite().all()
    if kind == "zeros":
        assert torch.equal(after, before) and stored.costs.max() <= codec.usual_nbytes(shape)
    if kind == "one color":
        assert (after - before).abs().max() <= 1.5 * codec.step
    if kind == "natural" and min(shape[1:]) >= 28:
        assert float((after - before).square().mean()) < 0.1


@pytest.mark.parametrize("value", [1e2, 1e3, 1e5, 1e12, 1e30, 3e38])
def test_values_however_large_are_cut(value):
    """Beyond 1e5, rounding of the transform itself is large and takes bits, too."""
    codec, stored, _, after = kept_by(Dct(), torch.full((1, 3, 32, 32), value))
    image = Dct().decode(after, torch.tensor([0]), (32, 32))
    assert image.isfinite().all() and stored.nbytes <= codec.most
    assert value > 1e5 or float(image.mean()) == pytest.approx(min(value, 110.9), abs=0.1)


def test_what_is_not_a_number_is_refused():
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="NaN or infinite"):
            ImageSet.from_images(torch.full((1, 3, 8, 8), value), torch.tensor([0]), Dct())


@pytest.mark.parametrize("step", [0.01, 0.3, 1.6, 50.0])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 9, 5)])
def test_no_image_takes_more_than_most(step, shape):
    """However few bytes fit a smooth image, and however rich another is."""
    with pytest.raises(ValueError, match="most must be 0 or at least") as caught:
        Dct(step, most=1).fit(shape)
    least = int(str(caught.value).split("at least ")[1].split()[0])
    images = torch.cat([10 * noise({0: 1}, shape=shape).images, natural(1, shape), torch.full((1, *shape), 1e30)])
    for most in (least, 2 * least + 9):
        _, stored, _, _ = kept_by(Dct(step, most=most), images)
        assert 0 < int(stored.costs.max()) <= most


def test_steps_that_are_too_small_and_codecs_that_are_not_fitted_are_refused():
    for step, shape in ((1e-3, (3, 32, 32)), (1e-300, (1, 8, 8)), (4e-3, (3, 224, 224))):
        with pytest.raises(ValueError, match="is too small for images of"):
            Dct(step).fit(shape)
    assert Dct(1e300).fit((3, 32, 32)).usual_nbytes((3, 32, 32)) < 10
    for codec in (Dct(), Dct(1.6), Dct(most=99), Dct(most=5).fit((1, 2, 2))):
        with pytest.raises(ValueError, match="is not fitted to|at least|fit the codec"):
            codec.store(torch.randn(1, 3, 224, 224))
    for wrong in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="step must be"):
            Dct(wrong)


@pytest.fixture
def held():
    return ImageSet.from_images(natural(6, (3, 16, 16)), torch.tensor([0, 0, 1, 1, 1, 1]), Dct())


def test_codes_survive_files_copies_and_pickles(held, tmp_path):
    held.save(tmp_path / "set.pt")
    for other in (ImageSet.load(tmp_path / "set.pt"), copy.deepcopy(held), pickle.loads(pickle.dumps(held))):
        assert other.stored.codes == held.stored.codes and torch.equal(other.images, held.images)
        assert other.nbytes == held.nbytes and ImageSet.merge([other, held]).nbytes == 2 * held.nbytes
    assert held.to("meta").stored.device.type == "meta"
    assert held.with_values(held.values).nbytes <= 1.05 * held.nbytes


def test_of_each_class_the_longest_prefix_within_bytes(held):
    for nbytes in range(0, held.nbytes, 7):
        for label, own in held.within(nbytes).by_class().items():
            all_costs = held.of_class(label).stored.costs.tolist()
            assert own.nbytes <= nbytes or len(own) == 1
            assert own.stored.codes == held.of_class(label).stored.codes[: len(own)]
            assert len(own) == len(all_costs) or sum(all_costs[: len(own) + 1]) > nbytes


def refused(path):
    with pytest.raises(ValueError) as caught:
        ImageSet.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_every_flipped_bit_and_every_cut_is_found(held, tmp_path):
    path = tmp_path / "set.pt"
    held.save(path)
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content)), 1_000):
        path.write_bytes(with_bit_flipped(content, bit))
        refused(path)
    for length in (*range(0, len(content), 37), len(content) - 1):
        path.write_bytes(content[:length])
        refused(path)


WRONG = {
    "they do not add up": ([4, 4], 9),
    "too short": ([], 5),
    "a length without end": ([0x80] * 5, 0),
    "an endless large length": ([0xFF] * 9, 3),
    "a cut length": ([3, 0x83], 3),
    "beyond memory": ([0xFF, 0xFF, 0xFF, 0xFF, 0x7F], 3),
}


@pytest.mark.parametrize("name", WRONG)
def test_lengths_that_do_not_fit_are_refused(name):
    lengths, size = WRONG[name]
    fields = {"codes": torch.zeros(size, dtype=torch.uint8), "lengths": torch.tensor(lengths, dtype=torch.uint8)}
    with pytest.raises(ValueError, match="codes of|length is|expected"):
        Coded.of_fields(fields, (3, 8, 8))


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 16_383, 16_384, 2**21])
def test_lengths_come_back(length):
    stored = Coded((b"", bytes(length), b"ab"), (1, 1, 1))
    assert Coded.of_fields(stored.fields(), (1, 1, 1)).codes == stored.codes
    assert stored.nbytes == sum(part.nbytes for part in stored.fields().values())


def test_crafted_codes_give_numbers_or_one_line(held, tmp_path):
    path, draw, read = tmp_path / "set.pt", random.Random(0), 0
    held.save(path)
    content = torch.load(path, weights_only=True)
    for turn in range(200):
        codes = [draw.randbytes(draw.choice([0, 1, 3, 20, 200])) if turn else b"" for _ in range(6)]
        codes = [b"\xff" * len(code) for code in codes] if turn % 10 == 1 else codes
        save_sealed(changed(content, ["stored"], Coded(tuple(codes), held.shape).fields()), path)
        try:
            crafted = ImageSet.load(path)
        except ValueError:
            refused(path)
        else:
            read += 1
            assert crafted.images.isfinite().all() and len(crafted) == 6
    assert 0 < read < 200
