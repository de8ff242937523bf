"""Laws of the standardization, and that it makes the scale of a stream not matter."""

from dataclasses import replace

import pytest
import torch

from dm_replay import PLAIN, ImageSet
from dm_replay.data.pool import TensorPool
from dm_replay.data.registry import load_dataset
from dm_replay.matching.config import CondenseConfig
from dm_replay.replay import standardize
from dm_replay.replay.memory import CondensedMemory
from dm_replay.replay.standardize import Standardization, to_dtype

# Differences by rounding grow with the iterations, so that they are few here.
CONFIG = CondenseConfig.preset(
    "paper",
    iterations=20,
    batch_real=16,
    network="convnet:width=16",
    prefix_weight=0.05,
    compile="no",
    precision="float32",
)


def digits(scale=1.0, shift=0.0, dtype=torch.float32):
    """Four digits, pixels 0 … 255 before they are scaled and shifted."""
    pool = load_dataset("digits").train.subset([0, 1, 2, 3])
    pixels = pool.images.float() * (255 / pool.images.max())
    return TensorPool((pixels * scale + shift).to(dtype), pool.labels)


def as_bytes():
    """The same as uint8 pixels that the pool gives as they are."""
    images = digits().images.round().to(torch.uint8)
    return TensorPool(images, digits().labels, mean=[0.0], std=[1 / 255])


def condensed(pool, **changes):
    memory = CondensedMemory(12, config=replace(CONFIG, **changes))
    memory.update(pool)
    memory.update(TensorPool(pool.take(torch.arange(80)), pool.labels[:80]))  # classes that come again
    return memory.to_set()[0]


def largest_step(images):
    """Of the 255 between a channel's least and largest value, in the values of the stream."""
    return float((images.stored.scale * images.affine[0]).max())


@pytest.mark.parametrize(
    ("scale", "shift"), [(1 / 255, 0.0), (1 / 80, -0.9), (100.0, 5000.0)], ids=["ToTensor", "standardized", "far off"]
)
def test_whatever_the_scale_the_pixels_are_the_same_up_to_it(scale, shift):
    here, there = condensed(digits()), condensed(digits(scale, shift))
    step = largest_step(here)
    difference = (there.images - shift) / scale - here.images
    assert difference.abs().max() < 1.1 * step, "no more than rounding to the next of 255 steps"
    assert difference.square().mean().sqrt() < 0.1 * step


def test_bytes_are_condensed_as_the_floats_they_stand_for():
    floats = digits()
    floats = TensorPool(floats.images.round(), floats.labels)
    here, there = condensed(floats), condensed(as_bytes())
    assert (here.images - there.images).abs().max() < 1.1 * largest_step(here)


def test_the_learning_rate_reaches_images_of_255():
    """They used to stay what they started from: lr 1 was 1 of 255."""
    start = condensed(digits(), iterations=1, lr_img=1e-9)
    moved = condensed(digits())
    assert (moved.images - start.images).square().mean().sqrt() > 5


def pools(generator, channels=3):
    scale = torch.tensor([1.0, 50.0, 0.01])[:channels, None, None]
    images = torch.randn(300, channels, 4, 4, generator=generator) * scale + 7
    return [
        TensorPool(images[:200], torch.zeros(200)),
        TensorPool(images[200:], torch.ones(100)),
    ], images


def test_fit_is_mean_and_deviation_of_every_channel(generator, monkeypatch):
    parts, images = pools(generator)
    fitted = Standardization.fit(parts)
    torch.testing.assert_close(fitted.mean, images.mean((0, 2, 3)))
    torch.testing.assert_close(fitted.std, images.std((0, 2, 3), correction=0))
    assert fitted.nbytes == 2 * 3 * 4
    monkeypatch.setattr(standardize, "SAMPLE", 100)
    assert not torch.equal(Standardization.fit(parts).mean, fitted.mean), "of a part only, where there are many"
    torch.testing.assert_close(Standardization.fit(parts).std, fitted.std, rtol=0.1, atol=0)


def test_a_constant_channel_is_only_shifted():
    images = torch.full((5, 2, 4, 4), 0.1)
    images[:, 1] = torch.arange(5.0)[:, None, None]
    fitted = Standardization.fit([TensorPool(images, torch.zeros(5))])
    assert fitted.std[0] == 1 and fitted.std[1] > 1
    assert fitted.apply(images)[:, 0].abs().max() < 1e-6


def test_apply_and_undo_on_images_pools_and_sets(generator):
    parts, images = pools(generator)
    space = Standardization.fit(parts)
    standardized = space.apply(images)
    torch.testing.assert_close(space.undo(standardized), images)
    torch.testing.assert_close(space.apply_to_pool(parts[0]).take(torch.arange(200)), standardized[:200])
    stored = ImageSet.from_images(standardized, torch.zeros(300), PLAIN.but(storage="uint8"))
    there = space.leave(stored)
    assert there.stored is stored.stored
    torch.testing.assert_close(there.images, space.undo(stored.images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(space.apply(there.images), stored.images, rtol=1e-4, atol=1e-4)


def test_a_pool_of_bytes_shares_its_pixels(pool):
    space = Standardization.fit([pool])
    there = space.apply_to_pool(pool)
    rows = torch.arange(len(pool))
    assert there.images is pool.images and pool.mean == (0.5, 0.4, 0.3)
    torch.testing.assert_close(there.take(rows), space.apply(pool.take(rows)), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(there.take(rows).mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)


def test_the_memory_remembers_the_first_standardization_and_the_users_normalization(pool):
    memory = CondensedMemory(6, config=CONFIG)
    assert memory.standardization is None
    memory.update(pool.subset([2, 5]))
    first = memory.standardization
    memory.update(pool.subset([9]))
    assert memory.standardization is first
    for part in memory.groups.values():
        assert (tuple(part.meta["mean"]), tuple(part.meta["std"])) == (pool.mean, pool.std)


def test_integers_are_rounded_and_kept_in_their_range():
    values = torch.tensor([-3.0, 1.6, 254.5, 300.0])
    assert to_dtype(values, torch.uint8).tolist() == [0, 2, 254, 255]
    assert to_dtype(values, torch.float64).dtype == torch.float64
