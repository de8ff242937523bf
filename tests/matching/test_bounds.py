"""How far pixels may go: by the step, with a network that is not of ours, and in all."""

import pytest
import torch
from torch import nn

from dm_replay import CondenseConfig, condense
from dm_replay.matching.synthetic import RealRange, at_most

QUICK = dict(ipc=2, iterations=60, batch_real=4, augment="none", compile="no", device="cpu")


def test_a_gradient_is_scaled_down_class_by_class_and_keeps_its_direction():
    gradient = torch.tensor([3e30, 3.0, 0.3]).view(3, 1, 1, 1, 1) * torch.ones(3, 2, 1, 2, 2)
    assert at_most(gradient, 1.0).amax((1, 2, 3, 4)).tolist() == pytest.approx([1.0, 1.0, 0.3])
    assert torch.equal(at_most(gradient[2:], 1.0), gradient[2:])


def test_a_network_of_any_scale_moves_pixels_no_further_than_ours(pool):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 10))
    moved = []
    for scale in (1.0, 1e3, 1e6):
        network[1].weight.data *= scale
        config = CondenseConfig.preset("fast", lr_final=1.0, momentum=0.0, **QUICK | {"iterations": 1})
        start = condense(
            pool, CondenseConfig.preset("paper", **vars(config) | {"lr_img": 1e-30}), network=network
        ).images
        moves = (condense(pool, config, network=network).images - start).view(3, -1)
        moved.append(float(moves.square().mean(1).sqrt().max()))
    assert max(moved) <= config.inner_steps * config.lr_img * RealRange.of(pool).gradient(2) * 1.001
    assert min(moved) > 0


@pytest.mark.parametrize(
    ("lr", "message"), [(1e4, "pixels reached .* where real images lie between"), (1e30, "lower lr_img, now 1e\\+30")]
)
def test_what_went_far_outside_the_real_images_is_refused(pool, lr, message):
    with pytest.raises(ValueError, match=message):
        condense(pool, CondenseConfig.preset("paper", **QUICK, network="convnet:width=8", lr_img=lr))


def test_constant_images_bound_pixels_too():
    flat = RealRange(0.0, 0.0, 0.0)
    flat.check(torch.zeros(1, 1, 1, 2, 2), torch.tensor(0.0), 1, 1.0)
    assert flat.gradient(1) > 0
    with pytest.raises(ValueError, match="pixels reached 51 within 1 iterations"):
        flat.check(torch.full((1, 1, 1, 2, 2), 51.0), torch.tensor(0.0), 1, 1.0)
