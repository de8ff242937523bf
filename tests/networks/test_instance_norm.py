"""Instance normalization from moments, where the CPU is one without bfloat16 instructions."""

import pytest
import torch
from torch import nn

from dm_replay import build_network
from dm_replay.networks.convnet import InstanceNorm
from dm_replay.runtime import hardware

LAST = torch.channels_last


@pytest.fixture(params=[True, False], ids=["bfloat16 cores", "no bfloat16"])
def cores(request, monkeypatch):
    monkeypatch.setattr(hardware, "has_bfloat16", lambda: request.param)
    return request.param


def norms(channels, dtype=torch.float32):
    ours, theirs = InstanceNorm(channels).to(dtype), nn.GroupNorm(channels, channels).to(dtype)
    nn.init.uniform_(ours.weight), nn.init.uniform_(ours.bias)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("offset", [0.0, 3.0, -10.0])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (8, 8), (5, 3)])
def test_it_is_instance_normalization(cores, size, offset, generator):
    ours, theirs = norms(6)
    x = (offset + torch.randn(4, 6, *size, generator=generator)).contiguous(memory_format=LAST)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-3, atol=1e-3)
        assert ours(x).is_contiguous(memory_format=LAST)


def test_in_float64_it_is_exact(cores):
    ours, theirs = norms(6, torch.float64)
    x = torch.randn(4, 6, 8, 8, dtype=torch.float64).contiguous(memory_format=LAST)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)


def test_cores_with_bfloat16_and_gradients_get_pytorchs_own(cores):
    ours, theirs = norms(6)
    x = torch.randn(4, 6, 8, 8).contiguous(memory_format=LAST)
    for images in (x.contiguous(), torch.randn(1, 6, 32, 32).contiguous(memory_format=LAST)):
        with torch.no_grad():
            assert torch.equal(ours(images), theirs(images))
    assert torch.equal(ours(x), theirs(x))
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x)) == cores


def test_a_constant_map_is_no_nan(cores):
    x = torch.full((2, 4, 8, 8), 1e3).contiguous(memory_format=LAST)
    with torch.no_grad():
        assert InstanceNorm(4)(x).abs().max() < 1e-1


def test_it_is_known_by_its_old_names():
    network = build_network("convnet:width=8", (3, 8, 8), 2)
    assert [name for name in network.state_dict() if name.startswith("features.1.")] == [
        "features.1.weight",
        "features.1.bias",
    ]
    assert isinstance(network.features[1], nn.GroupNorm)
