"""Tiles and color at a lower resolution: laws of the codec, and sets that are stored so."""

import pytest
import torch
from damage import changed
from reference import slow_decode
from sets import stored_alike

from dm_replay import Budget, CondenseConfig, CondensedMemory, ImageSet, Random, TensorPool, Tiles, condense
from dm_replay.replay.standardize import Standardization
from dm_replay.runtime.files import save_sealed

QUICK = dict(iterations=2, batch_real=4, network="convnet:width=4", compile="no", device="cpu")


def all_of(codec, values, size):
    return codec.decode(values, torch.arange(len(values) * codec.images_per_stored), size)


@pytest.mark.parametrize("enlarging", ["linear", "sharp"])
@pytest.mark.parametrize(("tiles", "color"), [(1, 2), (1, 4), (2, 2), (2, 4), (3, 2)])
def test_decoding_and_its_gradient_are_the_slow_loops(tiles, color, enlarging, generator):
    codec, shape = Tiles(tiles, color, enlarging).fit((3, 16, 32)), (3, 16, 32)
    stored_shape = codec.value_shape(shape)
    assert stored_shape == (1, 16 + 32 // color**2, 32) and codec.working_shape(shape) == shape
    stored = torch.randn(2, *stored_shape, generator=generator, dtype=torch.float64, requires_grad=True)
    fast, slow = all_of(codec, stored, (16, 32)), slow_decode(stored, tiles, enlarging, color)
    torch.testing.assert_close(fast, slow)
    weights = torch.randn(fast.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((images * weights).sum(), stored)[0] for images in (fast, slow)]
    torch.testing.assert_close(*gradients)
    some = torch.tensor([codec.images_per_stored, 0])
    torch.testing.assert_close(codec.decode(stored, some, (16, 32)), fast[some])


@pytest.mark.parametrize("tiles", [1, 2, 3])
@pytest.mark.parametrize(("color", "shape"), [(1, (3, 12, 16)), (2, (3, 12, 16)), (1, (1, 9, 11))])
def test_encoding_gives_values_of_the_shape_and_bytes_that_are_said(tiles, color, shape, generator):
    codec = Tiles(tiles, color, storage="uint8").fit(shape)
    values = codec.encode(torch.rand(2 * tiles**2, *shape, generator=generator))
    assert values.shape == (2, *codec.value_shape(shape))
    assert codec.store(values).nbytes == 2 * codec.nbytes(shape)


@pytest.mark.parametrize("enlarging", ["linear", "sharp"])
@pytest.mark.parametrize(("tiles", "color"), [(1, 1), (2, 1), (4, 1), (1, 4), (2, 2), (2, 4)])
def test_resampled_is_encoded_and_decoded(tiles, color, enlarging, generator):
    codec = Tiles(tiles, color, enlarging)
    images = torch.randn(2 * tiles**2, 3, 16, 32, generator=generator, dtype=torch.float64)
    there_and_back = all_of(codec, codec.encode(images), (16, 32))
    torch.testing.assert_close(codec.resample(images), there_and_back)
    torch.testing.assert_close(codec.resample(images[:3]), there_and_back[:3])


@pytest.mark.parametrize("color", [1, 4])
def test_images_are_resampled_in_the_values_that_a_set_stands_for(color, generator):
    codec = Tiles(2, color, "sharp", storage="uint8")
    space = Standardization(torch.tensor([1.0, 2, 3]), torch.tensor([0.1, 5, 1]))
    own = ImageSet.from_images(torch.randn(4, 3, 16, 16, generator=generator), torch.zeros(1), codec)
    images = torch.randn(5, 3, 16, 16, generator=generator)
    torch.testing.assert_close(space.leave(own).resample(space.undo(images)), space.undo(codec.resample(images)))


@pytest.mark.parametrize(("tiles", "color"), [(1, 2), (2, 4)])
def test_encoding_keeps_what_can_be_kept(tiles, color, generator):
    """An image of one color comes back, and a gradient that is everywhere the same moves every plane alike."""
    codec = Tiles(tiles, color, "linear")
    flat = torch.randn(4, 3, 1, 1, generator=generator, dtype=torch.float64).expand(4, 3, 16, 16)
    stored = codec.encode(flat).requires_grad_()
    decoded = codec.decode(stored, torch.arange(4), (16, 16))
    torch.testing.assert_close(decoded, flat)
    if tiles == 1:
        (gradient,) = torch.autograd.grad((decoded * flat).sum(), stored)
        moved = codec.decode(stored - gradient, torch.arange(4), (16, 16))
        torch.testing.assert_close(moved, torch.zeros_like(flat))


def test_gray_differences_are_kept_at_full_resolution(generator):
    gray = torch.randn(1, 1, 16, 16, generator=generator).expand(1, 3, 16, 16)
    codec = Tiles(1, 4, "linear")
    torch.testing.assert_close(codec.decode(codec.encode(gray), torch.tensor([0]), (16, 16)), gray)


@pytest.fixture
def colored():
    pixels = torch.randint(0, 256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return TensorPool(pixels, torch.arange(60) % 2, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])


@pytest.mark.parametrize("storage", ["float32", "uint8", "uint4"])
def test_a_set_of_planes_is_cut_joined_saved_and_shown(colored, storage, tmp_path):
    codec = Tiles(2, 2, "linear", storage=storage)
    kept = Random().reduce(colored, Budget(3, codec), seed=1)
    assert kept.shape == (3, 8, 8) and kept.decoded == 24 and kept.images.shape == (24, 3, 8, 8)
    values = {"float32": 96 * 4, "uint8": 96 + 8, "uint4": 48 + 8}[storage]
    assert kept.nbytes == 6 * values
    kept.save(tmp_path / "set.pt")
    loaded = ImageSet.load(tmp_path / "set.pt")
    joined = ImageSet.merge([loaded.of_class(1), loaded.of_class(0).prefix(1)])
    assert torch.equal(joined.images, kept.images[[*range(12, 24), *range(4)]])
    assert kept.as_stored().images.shape == (6, 3, 8, 8)
    assert kept.with_storage("float32").codec.color == 2 and kept.to("cpu").codec.color == 2
    with pytest.raises(ValueError, match="cannot merge sets of different codec"):
        ImageSet.merge([kept, Random().reduce(colored, Budget(3, codec.but(color=1)), seed=0)])
    content = torch.load(tmp_path / "set.pt")
    for place, value in (("codec.color", 3), ("codec.color", 4), ("affine", torch.zeros(2, 1)), ("codec.tiles", 5)):
        save_sealed(changed(content, place.split("."), value), tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=r"bad.pt is no image set, or damaged"):
            ImageSet.load(tmp_path / "bad.pt")


def test_a_set_of_planes_that_leaves_a_memory_is_mapped_as_its_images(colored, tmp_path):
    kept = Random().reduce(colored, Budget(2, Tiles(1, 2, "linear", storage="uint8")), seed=0)
    space = Standardization(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 2.0, 3.0]))
    moved = space.leave(kept)
    torch.testing.assert_close(moved.images, space.undo(kept.images))
    back = moved.with_affine(1 / space.std, -space.mean / space.std)
    torch.testing.assert_close(back.images, kept.images, rtol=1e-4, atol=1e-5)
    assert moved.nbytes == kept.nbytes + 24 and moved.stored is kept.stored
    moved.save(tmp_path / "set.pt")
    assert torch.equal(ImageSet.load(tmp_path / "set.pt").prefix(1).images, moved.prefix(1).images)
    torch.testing.assert_close(moved.with_storage("uint6").images, moved.images, rtol=0, atol=0.5)


def test_condensing_through_planes_goes_on_where_it_stopped(colored):
    settings = QUICK | {"iterations": 4, "extractors": 0}
    config = CondenseConfig.preset("fast", ipc=2, tiles=2, color=2, enlarging="linear", **settings)
    states = []
    whole = condense(colored, config, on_step=lambda step: states.append(step.state))
    again = condense(colored, config, state=states[1])
    assert whole.codec.color == 2 and whole.decoded == 16 and stored_alike(whole, again)
    start = Random().reduce(colored, Budget(2, whole.codec), seed=0)
    assert start.values.shape == whole.values.shape and whole.images.isfinite().all()


def test_a_memory_of_planes(colored):
    memory = CondensedMemory(6, config=CondenseConfig.preset("paper", tiles=2, color=2, storage="uint4", **QUICK))
    memory.update(colored.subset([0]))
    memory.update(colored)  # a class returns
    images, _ = memory.to_set()
    assert len(memory) == 6 and images.decoded == 24 and images.images.isfinite().all()
    assert memory.nbytes == 6 * 56 + 24
    real = colored.take(torch.arange(60))
    assert (images.images.mean((0, 2, 3)) - real.mean((0, 2, 3))).abs().max() < 0.5
    gray = CondensedMemory(4, config=CondenseConfig.preset("paper", color=2, **QUICK))
    gray.update(TensorPool(torch.rand(8, 1, 8, 8), [0, 1] * 4))
    assert gray.to_set()[0].codec.color == 1


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (dict(tiles=1, color=2), (3, 8, 7), "color 2 with tiles 1 does not fit 8x7 images"),
        (dict(tiles=4, color=4), (3, 8, 8), "color 4 with tiles 4 does not fit 8x8 images"),
        (dict(tiles=9), (3, 8, 8), "tiles 9 does not fit"),
        (dict(tiles=1, color=1, storage="uint4"), (1, 8, 7), "storage uint4 needs a width that 2 divides, got 7"),
    ],
)
def test_what_does_not_fit_is_said(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        Tiles(**settings).fit(shape)


def test_images_that_have_no_color_are_stored_without():
    assert Tiles(1, 2).fit((1, 8, 8)).color == 1


@pytest.mark.parametrize("make", [Tiles, lambda **settings: CondenseConfig.preset("paper", **settings)])
def test_settings_name_the_choices(make):
    with pytest.raises(ValueError, match="color must be one of 0, 1, 2, 4, got 3"):
        make(color=3)
