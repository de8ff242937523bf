"""What every network of the zoo keeps to, on images of every size."""

import pytest
import torch

from dm_replay.networks import build_network, names, parse, reset
from dm_replay.networks.registry import FAMILIES, activation_values

CONVNETS = (
    "",
    "norm=batch",
    "norm=layer",
    "norm=group",
    "norm=none",
    "pooling=max",
    "pooling=none,depth=2",
    "activation=sigmoid",
    "activation=leakyrelu",
    "activation=swish",
    "width=32,depth=1",
)
OTHERS = ["mlp", "lenet", "alexnet", "alexnet:norm=batch", "alexnet:norm=none", "vgg11", "vgg11:norm=batch"]
RESNETS = [f"resnet18:width=8,norm={norm},strides={how}" for norm in ("instance", "batch") for how in ("conv", "pool")]
NAMES = [f"convnet:{options}" for options in CONVNETS] + OTHERS + RESNETS
SHAPES = [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 20, 44)]


def test_every_family_is_among_them():
    assert {parse(name)[0] for name in NAMES} == set(FAMILIES) == set(names())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_features_logits_and_gradients(name, shape, generator):
    """The head is linear in the features, and what happens to a pixel matters, in all but a few places."""
    network = build_network(name, shape, 7)
    x = torch.randn(4, *shape, generator=generator, requires_grad=True)
    features = network.embed(x)
    assert features.shape == (4, network.classifier.in_features)
    torch.testing.assert_close(network(x), network.classifier(features))
    assert network(x).shape == (4, 7)
    weights = torch.randn(features.shape, generator=generator)
    (gradient,) = torch.autograd.grad((features * weights).sum(), x)
    assert gradient.isfinite().all() and (gradient != 0).float().mean() > 0.7
    assert (features.detach().std(0) > 1e-6).float().mean() > 0.3, "images are told apart"


@pytest.mark.parametrize("name", ["mlp", "lenet", "alexnet", "vgg11", "resnet18:width=4", "convnet:width=4"])
@pytest.mark.parametrize("side", [64, 128])
def test_large_images(name, side, generator):
    network = build_network(name, (3, side, side), 2)
    with torch.no_grad():
        assert network(torch.randn(2, 3, side, side, generator=generator)).isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_reset_has_the_constructors_distribution(name, generator):
    """Each tensor's range and spread, over many values, equals that of fresh networks."""
    network = build_network(name, (3, 16, 16), 10, seed=1)
    fresh = build_network(name, (3, 16, 16), 10, seed=2)
    before = [p.clone() for p in network.parameters()]
    reset(network, generator)
    for old, new, other in zip(before, network.parameters(), fresh.parameters(), strict=True):
        constant = old.unique().numel() == 1
        assert torch.equal(old, new) if constant else not torch.equal(old, new)
        if not constant and new.numel() > 1000:
            assert abs(new.std() / other.std() - 1) < 0.06 and abs(new.mean() - other.mean()) < 0.1 * other.std()
            assert abs(new.abs().max() / other.abs().max() - 1) < 0.02


@pytest.mark.parametrize("name", NAMES)
def test_batch_statistics_says_whether_images_depend_on_each_other(name, generator):
    network = build_network(name, (3, 16, 16), 2)
    x = torch.randn(6, 3, 16, 16, generator=generator)
    with torch.no_grad():
        beside_others, alone = network.embed(x)[:3], network.embed(x[:3])
    assert network.batch_statistics != torch.allclose(beside_others, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_a_budget_needs(name):
    """At least what goes into each convolution and what comes out of it; for a gradient, what is kept for it."""
    network, most, kept = build_network(name, (3, 16, 16), 2), [], {}
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, given, out: most.append(given[0].numel() + out.numel()))

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // 4
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network.eval().requires_grad_(False).embed(torch.zeros(1, 3, 16, 16, requires_grad=True))
    parameters = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    needed = activation_values(name, (3, 16, 16))
    assert needed.forward >= max(most, default=3 * 16 * 16)
    assert needed.with_gradient >= sum(values for storage, values in kept.items() if storage not in parameters)


@pytest.mark.parametrize(
    "name, shape, features",
    [
        ("convnet", (3, 32, 32), 2048),
        ("convnet", (1, 28, 28), 2048),
        ("convnet", (3, 64, 64), 2048),
        ("convnet", (1, 8, 8), 512),
        ("mlp", (3, 32, 32), 128),
        ("lenet", (3, 32, 32), 84),
        ("alexnet", (3, 32, 32), 3072),
        ("alexnet", (1, 28, 28), 3072),
        ("vgg11", (3, 32, 32), 512),
        ("vgg11", (1, 28, 28), 512),
        ("resnet18", (3, 32, 32), 512),
        ("resnet18:strides=pool", (3, 32, 32), 8192),
        ("resnet18:strides=pool", (1, 28, 28), 4608),
    ],
)
def test_the_papers_embedding_size(name, shape, features):
    assert build_network(name, shape, 10).classifier.in_features == features


@pytest.mark.parametrize(
    "name, parameters",
    [
        ("convnet", 320_010),
        ("mlp", 411_146),
        ("lenet", 62_006),
        ("alexnet:norm=none", 1_872_202),
        ("vgg11:norm=batch", 9_231_114),
        ("resnet18:norm=batch", 11_173_962),
    ],
)
def test_the_published_networks_have_their_numbers_of_parameters(name, parameters):
    network = build_network(name, (3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg11", "resnet18"])
def test_images_too_small(name):
    with pytest.raises(ValueError, match=f"{name} needs images of at least 8x8, got 4x9"):
        build_network(name, (3, 4, 9), 10)
