import pytest
import torch

from dm_replay.networks import ConvNet, build_network, parse, reset
from dm_replay.networks.activations import activation_values
from dm_replay.networks.pooling import AvgPool
from dm_replay.runtime.cpu import compiler

NAMES = [
    f"convnet:{options}"
    for options in (
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
    )  # fmt: skip
] + ["resnet18:width=8", "resnet18:width=8,norm=batch"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8)])
def test_every_network(name, shape, generator):
    network = build_network(name, shape, 7)
    x = torch.randn(4, *shape, generator=generator)
    features = network.embed(x)
    assert features.shape == (4, network.classifier.in_features)
    torch.testing.assert_close(network(x), network.classifier(features))
    assert network(x).shape == (4, 7)


@pytest.mark.parametrize(
    "shape, features", [((3, 32, 32), 2048), ((1, 28, 28), 2048), ((3, 64, 64), 2048), ((1, 8, 8), 512)]
)
def test_the_papers_embedding_size(shape, features):
    assert build_network("convnet", shape, 10).classifier.in_features == features


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


def test_the_published_resnet18_has_its_number_of_parameters():
    network = build_network("resnet18:norm=batch", (3, 32, 32), 10)
    assert sum(p.numel() for p in network.parameters()) == 11_173_962
    with pytest.raises(ValueError, match="at least 8x8, got 4x4"):
        build_network("resnet18", (3, 4, 4), 10)


def test_reset_is_in_place_and_by_the_generator():
    network = build_network("convnet:norm=batch", (3, 8, 8), 2)
    places = [p.data_ptr() for p in network.parameters()]
    network(torch.randn(4, 3, 8, 8))
    reset(network, torch.Generator().manual_seed(5))
    first = [p.clone() for p in network.state_dict().values()]
    network(torch.randn(4, 3, 8, 8) + 3)
    reset(network, torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(first, network.state_dict().values(), strict=True))
    assert places == [p.data_ptr() for p in network.parameters()]


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_network("convnet", (3, 8, 8), 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "name, message",
    [
        ("resnet99", "unknown network 'resnet99'; choose from convnet"),
        ("convnet:dept=3", "unknown option 'dept' of convnet; choose from activation, depth"),
        ("resnet18:norm=layer", "unknown norm 'layer'; choose from batch, instance"),
        ("convnet:depth", "should read name=value"),
        ("convnet:depth=x", "depth must be a whole number from 1 to 65536, got x"),
        ("convnet:depth=-1", "depth must be a whole number from 1 to 65536, got -1"),
        ("convnet:width=0", "width must be a whole number from 1 to 65536, got 0"),
        ("convnet:width=1.5", "width must be a whole number from 1 to 65536, got 1.5"),
        ("convnet:width=²", "width must be a whole number from 1 to 65536, got ²"),
        ("convnet:width=99999999999999999999999", "width must be a whole number from 1 to 65536, got 9"),
        ("convnet:pooling=none,depth=101", "depth 101 does not fit 8x8 images: 1 to 100"),
        ("convnet:norm=3", "unknown norm 3; choose from batch"),
        ("convnet:norm=group,width=6", "width must be a multiple of 4 where norm is group, got 6"),
        ("convnet:norm=bach", "unknown norm 'bach'; choose from batch, group"),
        ("convnet:depth=4", "depth 4 does not fit 8x8 images: 1 to 3"),
    ],
)
def test_errors_name_the_choices(name, message):
    with pytest.raises(ValueError, match=message):
        build_network(name, (1, 8, 8), 2)


@pytest.mark.skipif(not compiler(), reason="no C++ compiler")
@pytest.mark.parametrize("size", [8, 7])
def test_compiled_pooling_and_its_gradient_are_pytorchs(size, generator):
    x = torch.randn(2, 3, size, size, generator=generator).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    plain, fast = torch.nn.AvgPool2d(2), torch.compile(AvgPool())
    weights = torch.randn(2, 3, size // 2, size // 2, generator=generator)
    results = [(pooled := pool(x), *torch.autograd.grad((pooled * weights).sum(), x)) for pool in (plain, fast)]
    torch.testing.assert_close(results[1], results[0])


def test_parse():
    assert parse("convnet:norm=batch,depth=4") == ("convnet", {"norm": "batch", "depth": 4})


@pytest.mark.parametrize(
    "options", [{"width": 1.5}, {"width": 0}, {"depth": "3"}, {"norm": "group", "width": 6}], ids=str
)
def test_values_of_options_are_checked(options):
    with pytest.raises(ValueError, match=r"(width|depth) must be a"):
        ConvNet((1, 8, 8), 2, **options)


@pytest.mark.parametrize("text", ["width=0", "width=1.5", "depth=x", "norm=bach", "norm=group,width=6"])
def test_options_are_checked_before_there_are_images(text):
    with pytest.raises(ValueError, match="width|depth|norm"):
        parse(f"convnet:{text}")


@pytest.mark.parametrize("width", [4, 128])
@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
def test_activations_are_asked_of_the_network(width, norm):
    """The widest layer's input and output, and half as much again; without a norm the convolution's."""
    asked = activation_values(f"convnet:width={width},norm={norm}", (3, 16, 24))
    assert asked == 3 * width * 16 * 24
    assert activation_values("convnet:width=8,pooling=none", (1, 8, 8)) == 3 * 8 * 64
