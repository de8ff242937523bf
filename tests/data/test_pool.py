import numpy as np
import pytest
import torch
from PIL import Image

from dm_replay.data.pool import TensorPool


def test_draws_are_normalized_images_of_the_class(pool, generator):
    drawn = pool.draw([5, 2], 4, generator)
    assert drawn.shape == (2, 4, 3, 8, 8)
    mean, std = torch.tensor(pool.mean)[:, None, None], torch.tensor(pool.std)[:, None, None]
    for group, label in enumerate((5, 2)):
        real = (pool.images[pool.labels == label].float() / 255 - mean) / std
        for image in drawn[group]:
            assert (real - image).abs().flatten(1).amax(1).min() < 1e-5


def test_draws_are_without_replacement_and_uniform(pool, generator):
    seen = torch.zeros(len(pool), dtype=torch.long)
    for _ in range(600):
        indices = pool.draw_indices([5, 9], 6, generator)
        assert all(row.unique().numel() == 6 for row in indices)
        seen += indices.flatten().bincount(minlength=len(pool))
    assert seen[:7].sum() == 0
    assert (seen[7:19] / 600 - 6 / 12).abs().max() < 0.08
    assert (seen[19:] / 600 - 6 / 9).abs().max() < 0.08


def test_a_small_class_gives_all_it_has_repeated_evenly(pool, generator):
    indices = pool.draw_indices([2, 5], 17, generator)
    assert set(indices[0].bincount(minlength=7)[:7].tolist()) == {2, 3}
    assert sorted(indices[1].bincount(minlength=19)[7:].tolist()) == [1] * 7 + [2] * 5


def test_float_images_pass_unchanged(generator):
    images = torch.randn(4, 1, 5, 5, generator=generator)
    pool = TensorPool(images, [3, 3, 8, 8], mean=(0.5,), std=(0.2,))
    assert torch.equal(pool.take(torch.tensor([2, 0])), images[[2, 0]])
    assert pool.classes.tolist() == [3, 8] and pool.counts.tolist() == [2, 2]


def test_subset(pool):
    for held in (pool, pool.resident([2, 9], "cpu")):
        part = held.subset([9, 2])
        assert torch.equal(part.images, pool.images[(pool.labels != 5).nonzero()[:, 0]])
        shared = held.select(held.of_classes([2, 9]))
        assert shared.images is held.images and torch.equal(shared.raw(torch.arange(16)), part.images)
    assert part.classes.tolist() == [2, 9] and len(part) == 16 and part.mean == pool.mean


@pytest.mark.parametrize("part", [lambda p: p, lambda p: p.subset([3]), lambda p: p.resident([3], "cpu")])
def test_standardized_floats_share_the_pixels(part, generator):
    images = 5000 + 3 * torch.randn(4, 2, 5, 5, generator=generator)
    pool = TensorPool(images, [3, 3, 8, 8])
    mean, std = (5000.0, 4990.0), (3.0, 7.0)
    there = part(pool.standardized((1.0, 2.0), (2.0, 4.0)).standardized((2499.5, 1247.0), (1.5, 1.75)))
    values = there.draw([3], 2, generator)[0]
    given = (images[:2] - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert min((values - order).abs().max() for order in (given, given.flip(0))) < 1e-6
    assert pool.standardized(mean, std).images is pool.images
    assert torch.equal(pool.take(torch.arange(4)), images)


def test_from_a_dataset_of_pictures():
    items = [
        (Image.new("RGB", (6, 4), (255, 0, 51)), 1, "task"),
        (Image.new("RGB", (6, 4), (0, 0, 0)), 0, "task"),
    ]
    pool = TensorPool.from_dataset(items)
    assert pool.images.dtype == torch.uint8 and pool.shape == (3, 4, 6)
    assert pool.take(torch.tensor([0]))[0, :, 0, 0].tolist() == pytest.approx([1.0, 0.0, 0.2])


COLORS = torch.arange(3 * 6 * 5, dtype=torch.uint8).view(3, 6, 5)  # an image of 6 x 5


@pytest.mark.parametrize("image", [COLORS, COLORS.permute(1, 2, 0), COLORS[:1], COLORS[:1].permute(1, 2, 0), COLORS[0]])
def test_arrays_of_a_dataset_are_read_whatever_axis_holds_their_channels(image):
    array = image.numpy()
    pool = TensorPool.from_dataset([(array, 0), (array, 1)])
    assert torch.equal(pool.images, (COLORS if 3 in image.shape else COLORS[:1]).expand(2, -1, -1, -1))


def test_arrays_that_could_be_either_way_are_refused():
    with pytest.raises(ValueError, match="arrays of a dataset: cannot tell which axis of images"):
        TensorPool.from_dataset([(np.zeros((3, 6, 3), np.uint8), 0)])


@pytest.mark.parametrize("shape", [(8, 8, 3), (28, 28, 1), (32, 32, 4), (8, 12, 3), (6, 6, 3)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_images_with_channels_last_are_refused(shape, dtype):
    with pytest.raises(ValueError, match=r"expected images \(C, H, W\), got .*, which is \(H, W, C\)"):
        TensorPool(torch.zeros(2, *shape, dtype=dtype), [0, 1])


@pytest.mark.parametrize("shape", [(3, 8, 3), (1, 1, 128), (9, 128, 1), (64, 1, 1), (5, 4, 3), (12, 8, 8), (4, 4, 4)])
def test_narrow_images_signals_and_many_channels_are_taken(shape):
    assert TensorPool(torch.zeros(2, *shape), [0, 1]).shape == shape


@pytest.mark.parametrize("name, values", [("mean", (125.3, 123.0, 113.9)), ("mean", (-0.1,) * 3), ("std", (63.0,) * 3)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_normalization_in_bytes_is_refused(name, values, dtype):
    about = {"mean": (0.5,) * 3, "std": (0.2,) * 3, name: values}
    with pytest.raises(ValueError, match=f"{name} is in units of pixels from 0 to 1, got .*: divide mean and std"):
        TensorPool(torch.zeros(2, 3, 4, 4, dtype=dtype), [0, 1], **about)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((torch.zeros(0, 3, 4, 4), []), "at least one image"),
        (
            (torch.zeros(2, 3, 4, 4), [0]),
            r"expected images \(N, C, H, W\) and labels \(N,\), got \(2, 3, 4, 4\), \(1,\)",
        ),
        ((torch.zeros(2, 4, 4), [0, 1]), "expected images"),
        ((torch.zeros(2, 3, 4, 4), [0, -1]), "label -1 of image 1 is negative; expected whole numbers from 0"),
        ((torch.zeros(2, 3, 4, 4), [0.0, 1.5]), "label 1.5 of image 1 is not a whole number"),
        (
            (torch.tensor([0.0, float("nan")])[:, None, None, None], [4, 6]),
            "1 images hold NaN .* image 1 of class 6",
        ),
        ((torch.zeros(2, 3, 4, 4), [0, 1], (0.5,)), "expected 3 values of mean"),
        ((torch.zeros(2, 1, 4, 4), [0, 1], (0.5,), (0.0,)), "std must be above 0"),
        ((torch.zeros(2, 1, 4, 4, dtype=torch.int32), [0, 1]), "expected images as uint8 pixels or normalized floats"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        TensorPool(*arguments)


def test_labels_of_a_dataset_are_not_cut():
    image = torch.zeros(1, 4, 4)
    for labels in ([np.int32(3), torch.tensor(1)], [3.0, 1.0], [np.array([3]), torch.tensor([1])]):
        assert TensorPool.from_dataset([(image, label) for label in labels]).labels.tolist() == [3, 1]
    with pytest.raises(ValueError, match="label 0.7 of image 1 is not a whole number"):
        TensorPool.from_dataset([(image, 0), (image, 0.7)])


def test_unequal_sizes_and_absent_classes(pool, generator):
    with pytest.raises(ValueError, match=r"unequal size: item 1 is \(1, 4, 5\)"):
        TensorPool.from_dataset([(torch.zeros(1, 4, 4), 0), (torch.zeros(1, 4, 5), 0)])
    with pytest.raises(ValueError, match="empty dataset"):
        TensorPool.from_dataset([])
    with pytest.raises(ValueError, match="class 3 has no images; the pool holds 2, 5, 9"):
        pool.draw([3], 1, generator)
