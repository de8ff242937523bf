"""Old images of a class beside new ones: how many of each, in which order, and what is left of them."""

import pytest
import torch

from dm_replay import ImageSet, Tiles
from dm_replay.coresets.returning import evenly, joined, new_among, with_previous

CODECS = {  # tiles, enlarging
    (3, 8, 8): [(1, "linear"), (2, "linear"), (2, "sharp")],
    (1, 9, 11): [(1, "linear"), (2, "linear"), (3, "sharp")],
}
CASES = [(shape, Tiles(*settings).fit(shape)) for shape, every in CODECS.items() for settings in every]


def held(stored, count, label=0):
    images = torch.zeros(stored, 1, 4, 4)
    return ImageSet.from_images(images, torch.full((stored,), label), counts=torch.tensor([count]))


@pytest.mark.parametrize(("ipc", "tiles", "new", "old"), [(10, 1, 7, 30), (6, 4, 5, 200), (3, 1, 1, 999)])
def test_on_average_each_counts_by_its_real_images(ipc, tiles, new, old):
    previous = held(ipc, old)
    drawn = [new_among(ipc, tiles, 0, new, previous, seed) for seed in range(2_000)]
    wanted = ipc * tiles * new / (new + old)
    assert max(drawn) - min(drawn) <= 1
    assert abs(sum(drawn) / len(drawn) - wanted) < 0.05  # more than four deviations of such a mean


def test_no_new_image_is_there_twice_while_old_ones_are_left():
    assert new_among(10, 4, 0, 3, held(10, 1), seed=0) == 3
    assert new_among(10, 4, 0, 3, held(8, 1), seed=0) == 8, "two stored images are left to fill"
    assert new_among(10, 4, 0, 3, held(10, 1, label=7), seed=0) == 40, "another class"


def all_of(codec, values, shape):
    return codec.decode(values, torch.arange(len(values) * codec.images_per_stored), shape[1:])


@pytest.mark.parametrize(("shape", "codec"), CASES)
@pytest.mark.parametrize("many", [0, 1, 3, 5])
def test_old_images_stay_and_new_ones_are_what_they_were(shape, codec, many):
    generator = torch.Generator().manual_seed(0)
    ipc, each = 6, codec.images_per_stored
    old, new = (codec.encode(torch.rand(ipc * each, *shape, generator=generator)) for _ in range(2))
    stored = joined(new, old, many, codec)
    assert stored.shape == old.shape
    decoded, before, came = (all_of(codec, values, shape) for values in (stored, old, new))
    whole = (stored[:, None] == old).flatten(2).all(2).any(1)
    assert int(whole.sum()) == ipc - -(-many // each), "to the bit"
    near = [(decoded[:, None] - images).abs().flatten(2).amax(2) < 1e-5 for images in (before, came)]
    kept, added = (own.any(1) for own in near)
    assert int(added.sum()) == many and int(kept.sum()) == ipc * each - many and not (kept & added).any()


@pytest.mark.parametrize(("shape", "codec"), CASES)
@pytest.mark.parametrize(("storage", "rounding"), [("float32", 1e-6), ("uint8", 0.51 / 255)])
def test_sets_join_as_their_values_do(shape, codec, storage, rounding):
    """Where values are bytes, an image of old and new tiles is rounded once more."""
    codec, generator = codec.but(storage=storage), torch.Generator().manual_seed(0)
    images = torch.rand(2, 6 * codec.images_per_stored, *shape, generator=generator)
    labels, counts = torch.zeros(6), (torch.tensor([9]), torch.tensor([27]))
    new, old = (ImageSet.from_images(own, labels, codec, count) for own, count in zip(images, counts, strict=True))
    many = new_among(6, codec.images_per_stored, 0, 9, old, seed=3)
    both = with_previous(new, old, 6, seed=3)
    torch.testing.assert_close(both.values, joined(new.values, old.values, many, codec), rtol=0, atol=rounding)
    assert both.counts.tolist() == [36] and 0 < many < 6 * codec.images_per_stored


@pytest.mark.parametrize(("shape", "codec"), CASES)
def test_a_patchwork_decodes_to_a_tile_of_each(shape, codec):
    rows = torch.arange(codec.images_per_stored)
    parts = torch.rand(len(rows), *codec.value_shape(shape))
    decoded = codec.decode(codec.patchwork(parts)[None], rows, shape[1:])
    for tile in rows.tolist():
        assert torch.equal(decoded[tile], codec.decode(parts[tile][None], rows, shape[1:])[tile])


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (3, 4), (8, 2), (1, 9)])
def test_any_beginning_has_its_part_of_each(first, second):
    order = evenly(first, second)
    assert order.sort().values.tolist() == list(range(first + second))
    for length in range(1, len(order) + 1):
        part = int((order[:length] < first).sum())
        assert abs(part - length * first / (first + second)) <= 1
