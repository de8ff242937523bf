"""Condensing with a network that was trained already."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dm_replay import CondenseConfig, SiameseAugment, condense
from dm_replay.matching.condense import FEATURES
from dm_replay.matching.synthetic import RealRange, at_most
from dm_replay.matching.trained_networks import PretrainedExtractor

CONFIG = CondenseConfig.preset("paper", 
    ipc=2, iterations=1, batch_real=8, momentum=0.0, augment="none", compile="no", device="cpu", extractors=1,
    class_weight=0.3, lr_img=0.1,
)  # fmt: skip


class Forked(nn.Module):
    """Two heads, of which the second is used; BatchNorm and dropout, which must be as in evaluation."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5))
        self.heads = nn.ModuleList([nn.Linear(144, 11), nn.Linear(144, 10)])

    def forward(self, images):
        return self.heads[1](self.trunk(images))


@pytest.fixture
def forked():
    torch.manual_seed(0)
    network = Forked()
    network.train()(torch.randn(50, 3, 8, 8))  # statistics that are not the first ones
    return network


def test_features_and_logits_are_the_networks(pool, forked):
    classes, images = torch.tensor([2, 9]), torch.randn(4, 3, 8, 8)
    borrowed = PretrainedExtractor(forked, pool.shape, classes).train()
    forked.eval()
    torch.testing.assert_close(borrowed.classifier(borrowed.embed(images)), forked(images)[:, classes])
    assert torch.equal(borrowed.embed(images), forked.trunk(images))


def test_one_step_is_the_gradient_of_both_terms(pool, forked):
    before = {name: value.clone() for name, value in forked.state_dict().items()}
    config = CondenseConfig.preset(
        "paper", **vars(CONFIG) | {"batch_real": 12}
    )  # all images of class 5, so that its target is exact
    start = condense(pool, CondenseConfig.preset("paper", **vars(config) | {"lr_img": 1e-12}), network=forked).images
    stepped = condense(pool, config, network=forked).images
    forked.eval()
    pixels, real = start[2:4].clone().requires_grad_(), pool.take((pool.labels == 5).nonzero()[:, 0])
    own = forked.trunk(pixels)
    loss = (forked.trunk(real).mean(0).detach() - own.mean(0)).square().sum()
    weight = config.class_weight * 144 / FEATURES
    loss = loss + weight * F.cross_entropy(forked.heads[1](own)[:, pool.classes], torch.tensor([1, 1]))
    (gradient,) = torch.autograd.grad(loss, pixels)
    bounded = at_most(gradient[None], RealRange.of(pool).gradient(2))[0]
    torch.testing.assert_close(stepped[2:4], pixels.detach() - 0.1 * bounded, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in forked.state_dict().items())


def test_networks_that_cannot_be_used(pool):
    with pytest.raises(ValueError, match="a Conv2d calls no linear layer"):
        condense(pool, CONFIG, network=nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match="has 5 outputs, none for class 9"):
        condense(pool, CONFIG, network=nn.Sequential(nn.Flatten(), nn.Linear(192, 5)))
    with pytest.raises(ValueError, match=r"is given \(2, 3, 8, 8\), not \(N, D\)"):
        condense(pool, CONFIG, network=nn.Linear(8, 10))


def test_a_single_class_has_no_class_term(pool, forked):
    one = condense(pool, CONFIG, classes=[5], network=forked)
    without = condense(
        pool, CondenseConfig.preset("paper", **vars(CONFIG) | {"class_weight": 0.0}), classes=[5], network=forked
    )
    assert torch.equal(one.images, without.images)


def test_augmented_images_reach_it(pool, forked):
    augmented = CondenseConfig.preset("paper", **vars(CONFIG) | {"augment": SiameseAugment().name, "iterations": 3})
    assert condense(pool, augmented, network=forked).images.isfinite().all()
