"""Tiles as a codec: its laws, and sets and memories that are stored so."""

import pytest
import torch
from damage import changed
from sets import stored_alike

from dm_replay import Budget, CondenseConfig, CondensedMemory, ImageSet, Random, TensorPool, Tiles, condense
from dm_replay.replay.standardize import Standardization
from dm_replay.runtime.files import save_sealed

QUICK = dict(iterations=2, batch_real=4, network="convnet:width=4", compile="no", device="cpu")


def all_of(codec, values, size):
    return codec.decode(values, torch.arange(len(values) * codec.images_per_stored), size)


@pytest.mark.parametrize("tiles", [1, 2, 3])
@pytest.mark.parametrize("shape", [(3, 12, 16), (1, 9, 11)])
def test_encoding_gives_values_of_the_shape_and_bytes_that_are_said(tiles, shape, generator):
    codec = Tiles(tiles, storage="uint8").fit(shape)
    values = codec.encode(torch.rand(2 * tiles**2, *shape, generator=generator))
    assert values.shape == (2, *codec.value_shape(shape))
    assert codec.store(values).nbytes == 2 * codec.nbytes(shape)


def test_a_codec_that_is_not_fitted_stores_nothing():
    with pytest.raises(ValueError, match="is not fitted to images"):
        Tiles().store(torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize("enlarging", ["linear", "sharp"])
@pytest.mark.parametrize("tiles", [1, 2, 4])
def test_resampled_is_encoded_and_decoded(tiles, enlarging, generator):
    codec = Tiles(tiles, enlarging)
    images = torch.randn(2 * tiles**2, 3, 16, 32, generator=generator, dtype=torch.float64)
    there_and_back = all_of(codec, codec.encode(images), (16, 32))
    torch.testing.assert_close(codec.resample(images), there_and_back)
    torch.testing.assert_close(codec.resample(images[:3]), there_and_back[:3])


def test_images_are_resampled_in_the_values_that_a_set_stands_for(generator):
    codec = Tiles(2, "sharp", storage="uint8")
    space = Standardization(torch.tensor([1.0, 2, 3]), torch.tensor([0.1, 5, 1]))
    own = ImageSet.from_images(torch.randn(4, 3, 16, 16, generator=generator), torch.zeros(1), codec)
    images = torch.randn(5, 3, 16, 16, generator=generator)
    torch.testing.assert_close(space.leave(own).resample(space.undo(images)), space.undo(codec.resample(images)))


@pytest.fixture
def colored():
    pixels = torch.randint(0, 256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return TensorPool(pixels, torch.arange(60) % 2, mean=[0.5, 0.4, 0.3], std=[0.2, 0.25, 0.3])


@pytest.mark.parametrize("storage", ["float32", "float16", "uint8"])
def test_a_set_of_mosaics_is_cut_joined_saved_and_shown(colored, storage, tmp_path):
    codec = Tiles(2, "linear", storage=storage)
    kept = Random().reduce(colored, Budget(3, codec), seed=1)
    assert kept.shape == (3, 8, 8) and kept.decoded == 24 and kept.images.shape == (24, 3, 8, 8)
    assert kept.nbytes == 6 * {"float32": 192 * 4, "float16": 192 * 2, "uint8": 192 + 24}[storage]
    kept.save(tmp_path / "set.pt")
    loaded = ImageSet.load(tmp_path / "set.pt")
    joined = ImageSet.merge([loaded.of_class(1), loaded.of_class(0).prefix(1)])
    assert torch.equal(joined.images, kept.images[[*range(12, 24), *range(4)]])
    assert kept.as_stored().images.shape == (6, 3, 8, 8)
    other = "float32" if storage == "uint8" else "uint8"
    again = kept.with_storage("float32").with_storage(storage)
    assert (again.values - kept.values).abs().max() < 1e-5
    for unlike in (kept.with_storage(other), Random().reduce(colored, Budget(3, codec.but(tiles=1)), seed=0)):
        with pytest.raises(ValueError, match="cannot merge sets of different codec"):
            ImageSet.merge([kept, unlike])
    content = torch.load(tmp_path / "set.pt")
    wrong = [("codec.storage", value) for value in ("float64", "uint4", other, None, 3)]
    for place, value in [*wrong, ("affine", torch.zeros(2, 1)), ("codec.tiles", 5)]:
        save_sealed(changed(content, place.split("."), value), tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=r"bad.pt is no image set, or damaged"):
            ImageSet.load(tmp_path / "bad.pt")


def test_a_set_that_leaves_a_memory_is_mapped_as_its_images(colored, tmp_path):
    kept = Random().reduce(colored, Budget(2, Tiles(2, "linear", storage="uint8")), seed=0)
    space = Standardization(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 2.0, 3.0]))
    moved = space.leave(kept)
    torch.testing.assert_close(moved.images, space.undo(kept.images))
    back = moved.with_affine(1 / space.std, -space.mean / space.std)
    torch.testing.assert_close(back.images, kept.images, rtol=1e-4, atol=1e-5)
    assert moved.nbytes == kept.nbytes + 24 and moved.stored is kept.stored
    moved.save(tmp_path / "set.pt")
    assert torch.equal(ImageSet.load(tmp_path / "set.pt").prefix(1).images, moved.prefix(1).images)
    torch.testing.assert_close(moved.with_storage("float16").images, moved.images, rtol=0, atol=0.01)


def test_condensing_through_mosaics_goes_on_where_it_stopped(colored):
    settings = QUICK | {"iterations": 4, "extractors": 0}
    config = CondenseConfig.preset("fast", ipc=2, tiles=2, enlarging="linear", **settings)
    states = []
    whole = condense(colored, config, on_step=lambda step: states.append(step.state))
    again = condense(colored, config, state=states[1])
    assert whole.codec.tiles == 2 and whole.decoded == 16 and stored_alike(whole, again)
    start = Random().reduce(colored, Budget(2, whole.codec), seed=0)
    assert start.values.shape == whole.values.shape and whole.images.isfinite().all()


def test_a_memory_of_mosaics_when_a_class_returns(colored):
    memory = CondensedMemory(6, config=CondenseConfig.preset("paper", tiles=2, **QUICK))
    memory.update(colored.subset([0]))
    memory.update(colored)
    images, _ = memory.to_set()
    assert len(memory) == 6 and images.decoded == 24 and images.images.isfinite().all()
    assert memory.nbytes == 6 * (192 + 24) + 24
    real = colored.take(torch.arange(60))
    assert (images.images.mean((0, 2, 3)) - real.mean((0, 2, 3))).abs().max() < 0.5


@pytest.mark.parametrize("make", [Tiles, lambda **settings: CondenseConfig.preset("paper", **settings)])
def test_settings_name_the_choices(make):
    with pytest.raises(ValueError, match="unknown storage 'uint4'; choose from auto, float32, float16, uint8"):
        make(storage="uint4")
    with pytest.raises(ValueError, match="unknown enlarging 'cubic'; choose from linear, sharp"):
        make(enlarging="cubic")
