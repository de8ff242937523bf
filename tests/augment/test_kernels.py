import math

import pytest
import torch
from reference import warp_image

from dm_replay.augment.kernels import color, cutout, warp
from dm_replay.condensed.stored import dequantize, quantize
from dm_replay.matching.losses import matching_loss, prefix_means, prefix_weights


def rotation(degrees, scale_x=1.0, scale_y=1.0, shift=(0.0, 0.0)):
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[scale_x * c, -s, shift[0]], [s, scale_y * c, shift[1]]], dtype=torch.float64)


MATRICES = torch.stack(
    [
        rotation(0),
        rotation(15),
        rotation(-15),
        rotation(0, 1.2, 1 / 1.2),
        rotation(0, 1, 1, (3, -2)),
        rotation(7, -1, 1),
    ]
)


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (6, 9)])
def test_warp_equals_pytorchs_sampler(size, generator, device):
    x = torch.randn(len(MATRICES), 2, 3, *size, generator=generator, dtype=torch.float64)
    ours = warp(x.to(device), MATRICES.to(device)).cpu()
    for group, matrix in enumerate(MATRICES):
        for image in range(2):
            torch.testing.assert_close(ours[group, image], warp_image(x[group, image], matrix), atol=1e-12, rtol=0)


def test_warp_is_exact_for_shifts_and_mirrors(generator, device):
    x = torch.randn(2, 3, 3, 7, 10, generator=generator).to(device)
    shift_and_mirror = torch.tensor([[[1.0, 0, 2], [0, 1, -3]], [[-1, 0, 0], [0, 1, 0]]], device=device)
    out = warp(x, shift_and_mirror)
    expected = torch.zeros_like(x[0])
    expected[..., 3:, :-2] = x[0, ..., :-3, 2:]
    assert torch.equal(out[0], expected)
    assert torch.equal(out[1], x[1].flip(-1))


def test_gradients(generator):
    x = torch.randn(2, 2, 3, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    pair = MATRICES[[1, 3]]
    assert torch.autograd.gradcheck(lambda x: warp(x, pair), x)
    assert torch.autograd.gradcheck(lambda x: warp(x, MATRICES[[4, 5]]), x)
    factors = torch.rand(3, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: color(x, *factors), x)
    box = torch.tensor([[0, 2, 1, 9], [-2, 1, 0, 3]])
    assert torch.autograd.gradcheck(lambda x: cutout(x, box), x)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.3, 0.2, 1.0], dtype=torch.float64)])
def test_gradient_of_the_loss(weights, generator):
    targets = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    features = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: matching_loss(targets, f, weights), features)


def test_matrices_at_the_limits_of_their_reach_have_the_right_gradient(generator):
    for matrix in (rotation(45), rotation(-45), rotation(0, 1 / 1.49, 1 / 1.49)):
        x = torch.randn(1, 1, 1, 9, 9, generator=generator, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x, m=matrix: warp(x, m[None]), x)


def test_neutral_color_is_the_identity(generator):
    x = torch.randn(2, 3, 3, 4, 4, generator=generator)
    assert torch.equal(color(x, torch.zeros(2), torch.ones(2), torch.ones(2)), x)


def test_prefix_means_equal_means_of_slices(generator):
    features = torch.randn(4, 6, 5, generator=generator, dtype=torch.float64)
    means = prefix_means(features)
    for length in range(1, 7):
        torch.testing.assert_close(means[:, length - 1], features[:, :length].mean(1))


def test_weighted_loss_is_the_sum_over_prefixes(generator):
    targets = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    features = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    weights = torch.tensor([0.5, 0.25, 2.0], dtype=torch.float64)
    expected = sum(w * matching_loss(targets, features[:, : k + 1]) for k, w in enumerate(weights))
    torch.testing.assert_close(matching_loss(targets, features, weights), expected)


def test_prefix_weights():
    assert prefix_weights(10, 0.0) is None
    assert prefix_weights(1, 0.5) is None
    assert prefix_weights(4, 0.25).tolist() == [0.25, 0.25, 0.25, 1.0]
    assert prefix_weights(4, 1.0, 2.0).tolist() == [0.0625, 0.25, 0.5625, 1.0]


def test_quantizing_errs_by_at_most_half_a_step(generator):
    images = torch.randn(5, 3, 6, 6, generator=generator) * torch.tensor([0.1, 3.0, 40.0])[:, None, None]
    images[0, 0] = 1.25
    pixels, scale, offset = quantize(images)
    error = (dequantize(pixels, scale, offset) - images).abs()
    assert pixels.dtype == torch.uint8
    assert (error <= scale[:, :, None, None] / 2 * (1 + 1e-4) + 1e-6).all()
    assert torch.equal(dequantize(pixels, scale, offset)[0, 0], images[0, 0])
