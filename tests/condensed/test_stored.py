"""Values in bytes: within half a step of what they were."""

import torch

from dm_replay.condensed.stored import dequantize, quantize


def test_the_error_is_at_most_half_a_step(generator):
    images = 3 * torch.randn(4, 2, 8, 8, generator=generator) + 5
    images[0, 0] = 1.25
    pixels, scale, offset = quantize(images)
    restored = dequantize(pixels, scale, offset)
    assert ((restored - images).abs() <= 0.5001 * scale[:, :, None, None] + 1e-6).all()
    assert torch.equal(restored[0, 0], images[0, 0]) and int(pixels.max()) == 255
