"""Color at a lower resolution: laws of the decoder, and sets that are stored so."""

import pytest
import torch
from dm_replay.condensed.decoder import PLANES, Decoder
from dm_replay.coresets.config import ExemplarConfig
from torch.nn import functional as F

from dm_replay import CondenseConfig, ImageSet, TensorPool, condense
from dm_replay.coresets.random import random_exemplars
from dm_replay.replay.memory import CondensedMemory
from dm_replay.replay.standardize import Standardization
from dm_replay.runtime.files import save_sealed

QUICK = dict(iterations=2, batch_real=4, network="convnet:width=4", compile="no", device="cpu")


def slow_decode(stored: torch.Tensor, formation: int, color: int, height: int, width: int) -> torch.Tensor:
    """Image by image, tile by tile, plane by plane."""
    images = []
    for sheet in stored[:, 0]:
        values = sheet[height:].flatten()
        half = (height // color) * (width // color)
        colors = [values[k * half : (k + 1) * half].view(height // color, width // color) / color for k in (0, 1)]
        for row in range(formation):
            for column in range(formation):
                planes = []
                for plane in (sheet[:height], *colors):
                    h, w = plane.shape
                    tile = plane[
                        row * h // formation : (row + 1) * h // formation,
                        column * w // formation : (column + 1) * w // formation,
                    ]
                    planes.append(F.interpolate(tile[None, None], (height, width), mode="bilinear")[0, 0])
                mixed = torch.einsum("ki,khw->ihw", torch.tensor(PLANES, dtype=stored.dtype), torch.stack(planes))
                images.append(mixed)
    return torch.stack(images)


@pytest.mark.parametrize(("tiles", "color"), [(1, 2), (1, 4), (2, 2), (2, 4), (3, 2)])
def test_decoding_and_its_gradient_are_the_slow_loops(formation, color, generator):
    decoder, shape = Decoder(formation, color), (3, 16, 32)
    decoder.check(shape)
    stored_shape = decoder.stored_shape(shape)
    assert stored_shape == (1, 16 + 32 // color**2, 32) and decoder.image_shape(stored_shape) == shape
    stored = torch.randn(2, *stored_shape, generator=generator, dtype=torch.float64, requires_grad=True)
    fast = decoder.decode(stored, torch.arange(2 * decoder.tiles))
    slow = slow_decode(stored, formation, color, 16, 32)
    torch.testing.assert_close(fast, slow)
    weights = torch.randn(fast.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((images * weights).sum(), stored)[0] for images in (fast, slow)]
    torch.testing.assert_close(*gradients)
    some = torch.tensor([decoder.tiles, 0])
    torch.testing.assert_close(decoder.decode(stored, some), fast[some])


@pytest.mark.parametrize("enlarging", ["linear", "sharp"])
@pytest.mark.parametrize(("tiles", "color"), [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2), (2, 4)])
def test_resampled_is_encoded_and_decoded(formation, color, enlarging, generator):
    decoder = Decoder(formation, color, enlarging)
    images = torch.randn(2 * decoder.tiles, 3, 16, 32, generator=generator, dtype=torch.float64)
    there_and_back = decoder.decode(decoder.encode(images), torch.arange(len(images)))
    torch.testing.assert_close(decoder.resample(images), there_and_back)
    torch.testing.assert_close(decoder.resample(images[:3]), there_and_back[:3])


@pytest.mark.parametrize("color", [1, 4])
def test_images_are_resampled_in_the_values_that_a_set_stands_for(color, generator):
    decoder, space = Decoder(2, color, "sharp"), Standardization(torch.tensor([1.0, 2, 3]), torch.tensor([0.1, 5, 1]))
    encoded = decoder.encode(torch.randn(4, 3, 16, 16, generator=generator))
    about = dict(tiles=2, color=color, enlarging="sharp")
    own = ImageSet.from_images(encoded, torch.zeros(1), storage="uint8", **about)
    images = torch.randn(5, 3, 16, 16, generator=generator)
    torch.testing.assert_close(
        space.undo_set(own).resolution.resample(space.undo(images)), space.undo(decoder.resample(images))
    )


@pytest.mark.parametrize(("tiles", "color"), [(1, 2), (2, 4)])
def test_encoding_keeps_what_can_be_kept(formation, color, generator):
    """An image of one color comes back, and a gradient that is everywhere the same moves every plane alike."""
    decoder = Decoder(formation, color)
    flat = torch.randn(4, 3, 1, 1, generator=generator, dtype=torch.float64).expand(4, 3, 16, 16)
    stored = decoder.encode(flat).requires_grad_()
    decoded = decoder.decode(stored, torch.arange(4))
    torch.testing.assert_close(decoded, flat)
    if formation == 1:
        (gradient,) = torch.autograd.grad((decoded * flat).sum(), stored)
        torch.testing.assert_close(decoder.decode(stored - gradient, torch.arange(4)), torch.zeros_like(flat))


def test_gray_differences_are_kept_at_full_resolution(generator):
    gray = torch.randn(1, 1, 16, 16, generator=generator).expand(1, 3, 16, 16)
    torch.testing.assert_close(Decoder(1, 4).decode(Decoder(1, 4).encode(gray), torch.tensor([0])), gray)


@pytest.fixture
def colored():
    pixels = torch.randint(0, 256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return TensorPool(pixels, torch.arange(60) % 2, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])


@pytest.mark.parametrize("storage", ["float32", "uint8", "uint4"])
def test_a_set_of_planes_is_cut_joined_saved_and_shown(colored, storage, tmp_path):
    kept = random_exemplars(colored, ExemplarConfig(3, storage, tiles=2, color=2), seed=1)
    assert kept.shape == (3, 8, 8) and kept.decoded == 24 and kept.images.shape == (24, 3, 8, 8)
    values = {"float32": 96 * 4, "uint8": 96 + 8, "uint4": 48 + 8}[storage]
    assert kept.nbytes == 6 * values
    kept.save(tmp_path / "set.pt")
    loaded = ImageSet.load(tmp_path / "set.pt")
    joined = ImageSet.merge([loaded.of_class(1), loaded.of_class(0).prefix(1)])
    assert torch.equal(joined.images, kept.images[[*range(12, 24), *range(4)]])
    assert kept.as_stored().images.shape == (6, 3, 8, 8)
    assert kept.with_storage("float32").color == 2 and kept.to("cpu").color == 2
    with pytest.raises(ValueError, match="different storage"):
        ImageSet.merge([kept, random_exemplars(colored, ExemplarConfig(3, storage, tiles=2))])
    content = torch.load(tmp_path / "set.pt")
    for damage in ({"color": 3}, {"color": 4}, {"affine": torch.zeros(2, 1)}, {"tiles": 5}):
        save_sealed({**content, **damage}, tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=r"bad.pt is a damaged condensed set"):
            ImageSet.load(tmp_path / "bad.pt")


def test_standardizing_a_set_of_planes_is_standardizing_its_images(colored, tmp_path):
    kept = random_exemplars(colored, ExemplarConfig(2, "uint8", color=2))
    space = Standardization(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 2.0, 3.0]))
    moved = space.apply_to_set(kept)
    torch.testing.assert_close(moved.images, space.apply(kept.images))
    torch.testing.assert_close(space.undo_set(moved).images, kept.images, rtol=1e-4, atol=1e-5)
    assert moved.nbytes == kept.nbytes + 24
    moved.save(tmp_path / "set.pt")
    assert torch.equal(ImageSet.load(tmp_path / "set.pt").prefix(1).images, moved.prefix(1).images)
    torch.testing.assert_close(moved.with_storage("uint6").images, moved.images, rtol=0, atol=0.5)


def test_condensing_through_planes_goes_on_where_it_stopped(colored):
    settings = QUICK | {"iterations": 4, "extractors": 0}
    config = CondenseConfig.preset("fast", ipc=2, tiles=2, color=2, **settings)
    states = []
    whole = condense(colored, config, on_step=lambda step: states.append(step.state))
    again = condense(colored, config, state=states[1])
    assert whole.color == 2 and whole.decoded == 16 and torch.equal(whole.pixels, again.pixels)
    start = random_exemplars(colored, ExemplarConfig(2, "float32", tiles=2, color=2))
    assert start.pixels.shape == whole.pixels.shape and whole.images.isfinite().all()


def test_a_memory_of_planes(colored):
    memory = CondensedMemory(6, config=CondenseConfig.preset("paper", tiles=2, color=2, storage="uint4", **QUICK))
    memory.update(colored.subset([0]))
    memory.update(colored)  # a class returns
    images, _ = memory.to_set()
    assert len(memory) == 6 and images.decoded == 24 and images.images.isfinite().all()
    assert memory.nbytes == 6 * 56 + 2 * 24 + 24
    real = colored.take(torch.arange(60))
    assert (images.images.mean((0, 2, 3)) - real.mean((0, 2, 3))).abs().max() < 0.5
    gray = CondensedMemory(4, config=CondenseConfig.preset("paper", color=2, **QUICK))
    gray.update(TensorPool(torch.rand(8, 1, 8, 8), [0, 1] * 4))
    assert gray.to_set()[0].color == 1


@pytest.mark.parametrize(
    ("decoder", "shape", "message"),
    [
        (Decoder(1, 3), (3, 8, 8), "color must be one of 1, 2, 4, got 3"),
        (Decoder(1, 2), (1, 8, 8), "color 2 needs images of 3 channels, got 1"),
        (Decoder(1, 2), (3, 8, 7), "color 2 with formation 1 does not fit 8x7 images"),
        (Decoder(4, 4), (3, 8, 8), "color 4 with formation 4 does not fit 8x8 images"),
        (Decoder(9), (3, 8, 8), "formation 9 does not fit"),
    ],
)
def test_what_does_not_fit_is_said(decoder, shape, message):
    with pytest.raises(ValueError, match=message):
        decoder.check(shape)


@pytest.mark.parametrize("config", [CondenseConfig, ExemplarConfig])
def test_settings_name_the_choices(config):
    with pytest.raises(ValueError, match="color must be one of 1, 2, 4, got 3"):
        config(color=3)
