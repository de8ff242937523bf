import pytest
import torch
from torch.nn.functional import pad

from dm_replay.networks import ConvNet, activation_values, build_network, parse, reset
from dm_replay.networks.convnet import AvgPool
from dm_replay.runtime.hardware import compiler


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


def test_options_given_as_keywords_are_checked_too():
    with pytest.raises(ValueError, match="unknown option 'width' of lenet; it has none"):
        build_network("lenet", (1, 8, 8), 2, width=3)


def test_building_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    build_network("convnet", (3, 8, 8), 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "name, message",
    [
        ("resnet99", "unknown network 'resnet99'; choose from alexnet, convnet"),
        ("convnet:dept=3", "unknown option 'dept' of convnet; choose from activation, depth"),
        ("lenet:width=3", "unknown option 'width' of lenet; it has none"),
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


@pytest.mark.parametrize("name", ["convnet", "lenet", "alexnet", "vgg11"])
def test_images_of_28_pixels_are_seen_as_padded_to_32(name):
    small, large = (build_network(name, (1, side, side), 3).double() for side in (28, 32))
    large.load_state_dict(small.state_dict())
    images = torch.randn(2, 1, 28, 28, dtype=torch.float64)
    assert torch.allclose(small(images), large(pad(images, [2] * 4)), rtol=1e-12, atol=1e-12)


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
    assert asked.forward == 3 * width * 16 * 24
    assert activation_values("convnet:width=8,pooling=none", (1, 8, 8)).forward == 3 * 8 * 64
    built = build_network(f"convnet:width={width},norm={norm}", (3, 16, 24), 10)
    assert activation_values(built.eval(), (3, 16, 24)) == asked, "of a module as of its name"
