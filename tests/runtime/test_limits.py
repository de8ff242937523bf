import pytest
import torch

from dm_replay import build_network
from dm_replay.runtime import hardware
from dm_replay.runtime.hardware import Limits, Work, measure_limits, work_of


def test_the_work_of_a_network():
    """Width 4, depth 1 on 1x8x8: 64 positions, 4 x 9 products each, two operations a product; 256 activations."""
    network = build_network("convnet:width=4,depth=1", (1, 8, 8), 1)
    assert work_of(network, (1, 8, 8), images=10, itemsize=2) == Work(10 * 64 * 4 * 9 * 2, 10 * 256 * 2 * 2)
    assert not any(module._forward_hooks for module in network.modules())


def test_the_slower_limit_decides():
    limit = Limits(flops=100.0, bytes=10.0, dtype=torch.float32)
    assert limit.seconds(Work(200, 10)) == 2.0 and limit.seconds(Work(200, 30)) == 3.0


def test_limits_are_measured(monkeypatch):
    monkeypatch.setattr(hardware, "SIZES", {"cpu": (64, 2**16)})
    found = measure_limits(torch.device("cpu"), torch.float32, repeats=2)
    assert found.flops > 0 and found.bytes > 0 and "GFLOP/s in float32" in str(found)


@pytest.mark.parametrize("network", ["convnet", "convnet:norm=batch"])
def test_counting_work_moves_no_statistics(network):
    module = build_network(network, (3, 8, 8), 1)
    before = [buffer.clone() for buffer in module.buffers()]
    work_of(module, (3, 8, 8), 1, 4)
    assert all(torch.equal(a, b) for a, b in zip(before, module.buffers(), strict=True))
