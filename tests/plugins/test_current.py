"""Current images as tensors: the same images, the same distribution of crops and mirror images as torchvision's."""

import pytest
import torch
from torchvision.transforms import RandomCrop, RandomHorizontalFlip
from torchvision.transforms import functional as transforms

from dm_replay.augment.siamese import CropFlip
from dm_replay.plugins.mini_batches import TensorLoader

IMAGES = torch.rand(40, 3, 6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40)


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_each_image_is_cut_and_mirrored_as_torchvision_does(dtype):
    images = (IMAGES * 255).to(dtype)
    augment, fill = CropFlip(2), torch.tensor([3, 5, 7]).to(dtype)
    corners, mirrored = augment.sample(40, torch.Generator().manual_seed(1))
    assert 0 < mirrored.sum() < 40
    for image, corner, mirror, got in zip(
        images, corners, mirrored, augment.apply(images, corners, mirrored, fill), strict=True
    ):
        channels = [
            transforms.pad(channel[None], [2], fill=float(value)) for channel, value in zip(image, fill, strict=True)
        ]
        cut = transforms.crop(torch.cat(channels), *corner.tolist(), 6, 5)
        assert torch.equal(got, transforms.hflip(cut) if mirror else cut)


def test_crops_and_mirror_images_are_as_frequent_as_torchvisions():
    """Every outcome of a crop by one pixel and a flip, 18 in all, within five standard deviations of its share."""
    image = torch.arange(9.0).reshape(1, 3, 3) + 1
    many = 18 * 500
    augment = CropFlip(1)
    ours = augment.apply(
        image.expand(many, 1, 3, 3), *augment.sample(many, torch.Generator().manual_seed(2)), fill=torch.zeros(1)
    )
    torch.manual_seed(3)
    crop, flip = RandomCrop(3, padding=1), RandomHorizontalFlip()
    theirs = torch.stack([flip(crop(image)) for _ in range(2_000)])
    (kinds, counts), their_kinds = ours.unique(dim=0, return_counts=True), theirs.unique(dim=0)
    assert len(kinds) == 18 and torch.equal(kinds, their_kinds)
    assert (counts - 500).abs().max() < 5 * (many / 18 * 17 / 18) ** 0.5


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", CropFlip(0, False)),
        ("flip", CropFlip(0, True)),
        ("crop4", CropFlip(4, False)),
        ("crop12_flip", CropFlip(12, True)),
    ],
)
def test_names(name, expected):
    assert CropFlip.parse(name) == expected


@pytest.mark.parametrize("name", ["", "crop", "crop_flip", "flip_crop4", "crop-1", "crop4flip", "cropx_flip", "_flip"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="expected none, flip, or crop"):
        CropFlip.parse(name)


def test_every_pass_has_all_images_in_an_order_of_its_own():
    loader = TensorLoader(IMAGES, LABELS, LABELS % 2, batch_size=16, seed=5)
    passes = [list(loader) for _ in range(2)]
    orders = [torch.cat([labels for _, labels, _ in batches]) for batches in passes]
    assert not torch.equal(*orders)
    for batches, order in zip(passes, orders, strict=True):
        assert torch.equal(order.sort().values, LABELS) and len(batches) == len(loader) == 3
        assert torch.equal(torch.cat([images for images, *_ in batches]), IMAGES[order])
        assert torch.equal(torch.cat([tasks for *_, tasks in batches]), order % 2)
    again = TensorLoader(IMAGES, LABELS, batch_size=16, seed=5)
    assert torch.equal(torch.cat([labels for _, labels in again]), orders[0])


def test_in_order_and_without_the_rest():
    loader = TensorLoader(IMAGES, LABELS, batch_size=16, shuffle=False, drop_last=True)
    assert torch.equal(torch.cat([labels for _, labels in loader]), LABELS[:32]) and len(loader) == 2


def test_padding_is_black():
    images = IMAGES - 0.5
    loader = TensorLoader(images, LABELS, batch_size=40, augment=CropFlip(6), pixel=torch.float64)
    ((got, _),) = loader
    assert got.dtype == torch.float64
    assert torch.equal(got.amin((0, 2, 3)).float(), images.amin((0, 2, 3)))
