"""Old images of a class beside new ones: how many of each, in which order, and what is left of them."""

import pytest
import torch
from dm_replay.condensed.decoder import Decoder

from dm_replay.condensed.image_set import ImageSet
from dm_replay.coresets.returning import evenly, joined, new_among, stored_values

DECODERS = {
    (3, 8, 8): [Decoder(), Decoder(2), Decoder(2, 1, "sharp"), Decoder(1, 4), Decoder(2, 4, "sharp"), Decoder(2, 2)],
    (1, 9, 11): [Decoder(), Decoder(2), Decoder(3, 1, "sharp")],
}
CASES = [(shape, decoder) for shape, decoders in DECODERS.items() for decoder in decoders]


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


@pytest.mark.parametrize(("shape", "decoder"), CASES)
@pytest.mark.parametrize("new", [0, 1, 3, 5])
def test_old_images_stay_and_new_ones_are_what_they_were(shape, decoder, new):
    generator = torch.Generator().manual_seed(0)
    ipc, tiles = 6, decoder.tiles
    old = decoder.encode(torch.rand(ipc * tiles, *shape, generator=generator))
    images = torch.rand(new, *shape, generator=generator)
    stored = joined(images, old, ipc, decoder)
    assert stored.shape == old.shape
    decoded = decoder.decode(stored, torch.arange(ipc * tiles))
    for image in images:
        alone = decoder.decode(decoder.encode(image.expand(tiles, -1, -1, -1)), torch.arange(tiles))
        assert any(torch.allclose(one, other, atol=1e-5) for one in decoded for other in alone)
    before = decoder.decode(old, torch.arange(ipc * tiles))
    kept = (decoded[:, None] == before).flatten(2).all(2).any(1)
    assert int(kept.sum()) == ipc * tiles - new


@pytest.mark.parametrize(("shape", "decoder"), CASES)
def test_a_patchwork_decodes_to_a_tile_of_each(shape, decoder):
    parts = torch.rand(decoder.tiles, *decoder.stored_shape(shape))
    rows = torch.arange(decoder.tiles)
    decoded = decoder.decode(decoder.patchwork(parts)[None], rows)
    for tile in range(decoder.tiles):
        assert torch.equal(decoded[tile], decoder.decode(parts[tile][None], rows)[tile])


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (3, 4), (8, 2), (1, 9)])
def test_any_beginning_has_its_part_of_each(first, second):
    order = evenly(first, second)
    assert order.sort().values.tolist() == list(range(first + second))
    for length in range(1, len(order) + 1):
        part = int((order[:length] < first).sum())
        assert abs(part - length * first / (first + second)) <= 1


def test_a_set_that_stores_otherwise_is_coded_again():
    images = ImageSet.from_images(torch.rand(3, 3, 8, 8), torch.zeros(3))
    assert torch.equal(stored_values(images, Decoder()), images.images)
    assert stored_values(images, Decoder(2, 4)).shape == (1, 1, 9, 8)
