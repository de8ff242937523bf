"""Tiles: decoding against PyTorch's own enlarging, and sets that keep mosaics."""

import pytest
import torch
from damage import changed
from PIL import Image
from reference import slow_decode
from sets import of_values
from torch.nn import functional as F

from dm_replay import ImageSet, Tiles
from dm_replay.condensed.export import grid, to_imagefolder, to_npz
from dm_replay.condensed.tiles import check_tiles, decode_tiles, encode_tiles
from dm_replay.runtime.files import save_sealed


@pytest.mark.parametrize("enlarging", ["linear", "sharp"])
@pytest.mark.parametrize(("size", "tiles"), [((8, 8), 2), ((8, 8), 4), ((9, 7), 2), ((11, 8), 3), ((6, 6), 1)])
def test_decoding_and_its_gradient_equal_the_slow_loop(size, tiles, enlarging, generator):
    stored = torch.randn(3, 2, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    rows = torch.arange(3 * tiles**2)
    fast, slow = decode_tiles(stored, rows, tiles, enlarging=enlarging), slow_decode(stored, tiles, enlarging)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    weights = torch.randn(fast.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((images * weights).sum(), stored)[0] for images in (fast, slow)]
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_any_rows_in_any_order(generator):
    stored = torch.randn(3, 1, 8, 8, generator=generator)
    rows = torch.tensor([7, 0, 7, 11])
    assert torch.equal(decode_tiles(stored, rows, 2), decode_tiles(stored, torch.arange(12), 2)[rows])


def test_encoding_averages_and_is_undone_where_nothing_is_lost(generator):
    flat = torch.randn(8, 3, 1, 1, generator=generator).expand(-1, -1, 8, 8)
    for enlarging in ("linear", "sharp"):
        torch.testing.assert_close(decode_tiles(encode_tiles(flat, 2), torch.arange(8), 2, None, enlarging), flat)
    images = torch.randn(4, 1, 8, 8, generator=generator)
    stored = encode_tiles(images, 2)
    torch.testing.assert_close(stored[0, 0, 4:, :4], F.avg_pool2d(images[2], 2)[0])
    assert torch.equal(encode_tiles(images, 1), images)


@pytest.mark.parametrize(("tiles", "size"), [(0, (8, 8)), (5, (8, 8)), (3, (5, 32))])
def test_a_tile_needs_two_pixels(tiles, size):
    with pytest.raises(ValueError, match=f"tiles {tiles} does not fit {size[0]}x{size[1]} images"):
        check_tiles(tiles, *size)


@pytest.fixture(params=["float32", "float16", "uint8"])
def formed(request, generator):
    """Two classes of three and two mosaics of 2 × 2 tiles."""
    images = torch.randn(5, 3, 8, 8, generator=generator)
    labels = torch.tensor([4, 4, 4, 9, 9])
    meta = {"mean": [0.5] * 3, "std": [0.2] * 3}
    return of_values(images, labels, Tiles(2, "linear", storage=request.param), meta=meta)


def test_a_set_of_mosaics_counts_stored_images_and_gives_training_images(formed):
    plain = formed.as_stored()
    assert len(formed) == len(plain) == 5 and formed.decoded == 20 and plain.decoded == 5
    assert formed.nbytes == plain.nbytes and torch.equal(formed.values, plain.images)
    assert formed.images.shape == (20, 3, 8, 8)
    assert formed.image_labels.tolist() == [4] * 12 + [9] * 8
    torch.testing.assert_close(formed.images, slow_decode(formed.values, 2), rtol=1e-5, atol=1e-5)
    rows = torch.tensor([19, 3])
    torch.testing.assert_close(formed.decode(rows), formed.images[rows], rtol=1e-5, atol=1e-5)


def test_tiles_survive_whatever_is_done_to_a_set(formed, tmp_path):
    formed.save(tmp_path / "set.pt")
    joined = ImageSet.merge([formed.of_class(9), formed.of_class(4)])
    for other in (ImageSet.load(tmp_path / "set.pt"), formed.with_meta(x=1), formed.to("cpu"), joined):
        assert other.codec.tiles == 2 and other.decoded == 20
    assert torch.equal(ImageSet.load(tmp_path / "set.pt").images, formed.images)
    assert torch.equal(formed.prefix(1).images, formed.images[[0, 1, 2, 3, 12, 13, 14, 15]])
    assert formed.with_storage("float32").codec.tiles == 2
    with pytest.raises(ValueError, match="cannot merge sets of different codec"):
        ImageSet.merge([formed, formed.as_stored()])


def test_sharp_mosaics_stay_sharp_and_are_sharper(formed, tmp_path):
    sharp = of_values(formed.values, formed.labels, Tiles(2, "sharp"))
    sharp.save(tmp_path / "set.pt")
    for other in (ImageSet.load(tmp_path / "set.pt"), sharp.with_storage("float16"), sharp.prefix(3)):
        assert other.codec.enlarging == "sharp"
        torch.testing.assert_close(other.images, slow_decode(other.values, 2, "sharp"), rtol=1e-5, atol=1e-5)
    assert sharp.images.diff(dim=3).square().mean() > 1.5 * formed.images.diff(dim=3).square().mean()
    with pytest.raises(ValueError, match="cannot merge"):
        ImageSet.merge([sharp, formed.with_storage("float32")])
    content = torch.load(tmp_path / "set.pt", weights_only=True)
    save_sealed(changed(content, ("codec", "enlarging"), "cubist"), tmp_path / "set.pt")
    with pytest.raises(ValueError, match="damaged: unknown enlarging 'cubist'; choose from linear, sharp"):
        ImageSet.load(tmp_path / "set.pt")


@pytest.mark.parametrize("tiles", [0, 7, "2", None])
def test_a_file_with_tiles_that_cannot_be(formed, tiles, tmp_path):
    formed.save(tmp_path / "set.pt")
    content = torch.load(tmp_path / "set.pt", weights_only=True)
    save_sealed(changed(content, ("codec", "tiles"), tiles), tmp_path / "set.pt")
    with pytest.raises(ValueError, match="is no image set, or damaged"):
        ImageSet.load(tmp_path / "set.pt")


def test_pictures_and_exports_show_training_images_or_what_is_stored(formed, tmp_path):
    assert grid(formed).width > grid(formed.as_stored()).width
    to_imagefolder(formed, tmp_path / "decoded")
    to_imagefolder(formed.as_stored(), tmp_path / "stored")
    counts = [len(list((tmp_path / name).rglob("*.png"))) for name in ("decoded", "stored")]
    assert counts == [20, 5]
    with Image.open(tmp_path / "decoded" / "4" / "0011.png") as picture:
        assert picture.size == (8, 8)
    to_npz(formed, tmp_path / "x.npz")
