"""Small files: the best quality that fits, whatever the pictures and their values."""

import io

import pytest
import torch
from PIL import Image
from pools import noisy_pixels, smooth_pixels
from sets import of_values

from dm_replay import Budget, CondensedMemory, ImageSet, Random, TensorPool, Webp
from dm_replay.condensed import webp

SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def pictures():
    """Smooth pictures, as a codec expects them."""
    return TensorPool(*smooth_pixels({0: 20, 1: 20}, shape=SHAPE), mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])


def pillows(picture, quality):
    """A uint8 picture (C, H, W) as Pillow codes it."""
    values, file = picture.permute(1, 2, 0).squeeze(2).numpy(), io.BytesIO()
    Image.fromarray(values).save(file, "webp", quality=quality, method=6)
    return file.getvalue()


def as_pixels(values):
    """Of one picture, with its darkest value black and its brightest white."""
    low, high = values.min(), values.max()
    return ((values - low) / (high - low) * 255).round().to(torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("most", [150, 250, 400, 900])
def test_the_best_quality_that_fits_and_what_pillow_decodes(pictures, channels, most):
    images = pictures.take(torch.arange(6))[:, :channels]
    codec = Webp(most, shrink=1).fit((channels, 32, 32))
    stored = codec.store(codec.encode(images))
    for image, code, decoded in zip(images, stored.codes, codec.read(stored, torch.arange(6)), strict=True):
        qualities = {quality: pillows(as_pixels(image), quality) for quality in range(96)}
        own = [quality for quality, found in qualities.items() if found == code]
        assert len(code) <= most and any(quality == 95 or len(qualities[quality + 1]) > most for quality in own)
        shown = Image.open(io.BytesIO(code)).convert("L" if channels == 1 else "RGB")
        pixels = (decoded - image.min()) / (image.max() - image.min()) * 255
        assert pixels.permute(1, 2, 0).flatten().round().long().tolist() == list(shown.tobytes())


def test_drawn_ones_are_shrunk_and_in_the_values_of_their_pool(pictures):
    coded = Random().reduce(pictures, Budget(16, Webp()), seed=4)
    assert coded.image_labels.tolist() == [0] * 16 + [1] * 16 and coded.decoded == len(coded)
    assert coded.values.shape == (32, 3, 16, 16) and coded.images.shape == (32, *SHAPE)
    most = coded.codec.nbytes(SHAPE)
    assert most == 153 + webp.SPAN and 0.5 * 32 * most < coded.nbytes <= 32 * most
    real = pictures.take(torch.arange(40))
    errors = (coded.images[:, None] - real).square().flatten(2).mean(2)
    assert errors.amin(1).max() < 0.1 and errors.argmin(1).unique().numel() == 32


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 8, 64), (1, 16, 16)])
def test_noise_fits_too(shape):
    pixels, labels = noisy_pixels({0: 6, 1: 6}, shape=shape)
    coded = Random().reduce(
        TensorPool(pixels, labels, [0.0] * shape[0], [1 / 255] * shape[0]), Budget(6, Webp()), seed=0
    )
    assert max(map(len, coded.stored.codes)) <= coded.codec.most and coded.images.shape == (12, *shape)
    assert (coded.images.mean((1, 2, 3)) - pixels.float().mean()).abs().max() < 20


def test_a_set_of_files_is_cut_joined_copied_and_saved(pictures, tmp_path):
    coded = Random().reduce(pictures, Budget(4, Webp()), seed=0)
    coded.save(tmp_path / "set.pt")
    loaded = ImageSet.load(tmp_path / "set.pt")
    assert loaded.stored.codes == coded.stored.codes and torch.equal(loaded.images, coded.images)
    assert loaded.meta == coded.meta and loaded.codec == coded.codec
    joined = ImageSet.merge([loaded.of_class(1), loaded.of_class(0).prefix(1)])
    assert joined.stored.codes == (*coded.stored.codes[4:], coded.stored.codes[0])
    assert torch.equal(joined.images, coded.images[[4, 5, 6, 7, 0]])


def test_sets_that_do_not_belong_together():
    values, codec = torch.rand(2, 3, 16, 16), Webp(120, shrink=1)
    coded = of_values(values, [0, 0], codec)
    for other in (
        of_values(values, [0, 0], codec.but(most=121)),
        of_values(values, [0, 0], codec.but(shrink=2), (3, 32, 32)),
        coded.with_affine(torch.ones(3), torch.ones(3)),
    ):
        with pytest.raises(ValueError, match="cannot merge sets of different"):
            ImageSet.merge([coded, other])


def test_what_cannot_be_coded(pictures):
    with pytest.raises(ValueError, match="class 0 has 20 images, fewer than 21"):
        Random().reduce(pictures, Budget(21, Webp()), seed=0)
    with pytest.raises(ValueError, match="not even a plain picture"):
        of_values(torch.rand(1, 3, 8, 8), [0], Webp(20, shrink=1))
    for shape in ((3, 4, 4), (5, 32, 32)):
        with pytest.raises(ValueError, match=rf"{shape[0]}, {shape[1]}, {shape[2]}\) cannot be kept as WebP: choose"):
            Webp().fit(shape)
        with pytest.raises(ValueError, match="cannot be kept as WebP"):
            CondensedMemory(4, kind="webp").update(TensorPool(torch.rand(4, *shape), torch.zeros(4)))
    with pytest.raises(ValueError, match="unknown enlarging 'cubist'"):
        Webp(enlarging="cubist")
