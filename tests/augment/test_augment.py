import pytest
import torch
from reference import augment_image

from dm_replay.augment.siamese import SiameseAugment

FAMILIES = SiameseAugment.known


@pytest.mark.parametrize("families", [(f,) for f in FAMILIES] + [FAMILIES, ()])
def test_equals_the_slow_reference(families, generator, device):
    augment = SiameseAugment(families)
    x = torch.randn(12, 2, 3, 8, 8, generator=generator, dtype=torch.float64)
    params = augment.sample(12, (8, 8), generator)
    ours = augment.apply(x.to(device), params.to(device)).cpu()
    for group in range(12):
        for image in range(2):
            expected = augment_image(x[group, image], params.take(group))
            torch.testing.assert_close(ours[group, image], expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_does_something(family, generator):
    augment = SiameseAugment((family,))
    x = torch.randn(20, 1, 3, 8, 8, generator=generator)
    assert not torch.equal(augment.apply(x, augment.sample(20, (8, 8), generator)), x)


def test_params_replay_exactly_on_real_and_synthetic(generator):
    augment = SiameseAugment()
    params = augment.sample(6, (8, 8), generator)
    x = torch.randn(6, 4, 3, 8, 8, generator=generator)
    together = augment.apply(x, params)
    assert torch.equal(together, augment.apply(x, params))
    assert torch.equal(together[:, 1:3], augment.apply(x[:, 1:3], params))


def test_each_group_draws_exactly_one_family(generator):
    params = SiameseAugment().sample(4000, (32, 32), generator)
    neutral = SiameseAugment(()).sample(1, (32, 32), generator)
    kinds = torch.stack([(part != plain).flatten(1).any(1) for part, plain in zip(params, neutral, strict=True)])
    assert kinds.sum(0).max() == 1
    assert abs(kinds[1].float().mean() - 1 / 6) < 0.03
    assert abs(kinds[2].float().mean() - 1 / 6) < 0.03


def test_ranges(generator):
    size = (32, 32)
    crop = SiameseAugment(("crop",)).sample(4000, size, generator).matrix
    assert crop[:, 0, 2].unique().tolist() == crop[:, 1, 2].unique().tolist() == list(range(-4, 5))
    scale = SiameseAugment(("scale",)).sample(4000, size, generator).matrix.diagonal(dim1=1, dim2=2)
    assert 1 / 1.2 <= scale.min() < 0.84 and 1.19 < scale.max() <= 1.2
    box = SiameseAugment(("cutout",)).sample(4000, size, generator).box
    assert (box[:, 1] - box[:, 0] == 16).all() and box[:, 0].min() == -8 and box[:, 0].max() == 24
    color = SiameseAugment(("color",)).sample(4000, size, generator).color
    assert color.min(0).values.tolist() == pytest.approx([-0.5, 0, 0.5], abs=0.01)
    assert color.max(0).values.tolist() == pytest.approx([0.5, 2, 1.5], abs=0.01)
    flip = SiameseAugment(("flip",)).sample(4000, size, generator).matrix
    assert abs((flip[:, 0, 0] == -1).float().mean() - 0.5) < 0.03


def test_names():
    assert SiameseAugment.parse("color_crop").name == "color_crop"
    assert SiameseAugment.parse("none").families == ()
    with pytest.raises(ValueError, match="unknown augmentation 'blur'; choose from color"):
        SiameseAugment.parse("color_blur")
    with pytest.raises(ValueError, match="expected each family once"):
        SiameseAugment.parse("crop_crop")
    with pytest.raises(ValueError, match="flip must lie"):
        SiameseAugment(flip=7)
    with pytest.raises(ValueError, match="rotate"):
        SiameseAugment(rotate=90)
