import pytest
import torch

from dm_replay.data.pixels import planar


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 32, 32), (5, 1, 32, 32)),
        ((5, 3, 32, 32), (5, 3, 32, 32)),
        ((5, 32, 32, 3), (5, 3, 32, 32)),
        ((5, 30, 40, 1), (5, 1, 30, 40)),
        ((5, 3, 4, 4), (5, 3, 4, 4)),
        ((5, 4, 5, 3), (5, 3, 4, 5)),
        ((5, 32, 32, 4), (5, 4, 32, 32)),
        ((5, 4, 32, 32), (5, 4, 32, 32)),
        ((5, 30, 40, 2), (5, 2, 30, 40)),
        ((5, 4, 30, 40), (5, 4, 30, 40)),
        ((5, 64, 64, 13), (5, 13, 64, 64)),
        ((5, 13, 64, 48), (5, 13, 64, 48)),
        ((5, 512, 4, 4), (5, 512, 4, 4)),
    ],
)
def test_channels_are_found(shape, expected):
    images = torch.arange(torch.Size(shape).numel()).reshape(shape)
    found = planar(images, "x.npy")
    assert found.shape == expected and found.untyped_storage().data_ptr() == images.untyped_storage().data_ptr()
    if len(shape) == 4 and shape != expected:
        assert torch.equal(found[1, 0], images[1, ..., 0])


@pytest.mark.parametrize("shape", [(5, 4, 4, 4), (5, 3, 3, 3), (5, 3, 128, 1), (5, 16, 12, 10), (5, 4, 30, 4)])
def test_ambiguous_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"^x\.npy: cannot tell which axis of images .* TensorPool .*\(N, C, H, W\)$"):
        planar(torch.zeros(shape), "x.npy")


@pytest.mark.parametrize("shape", [(5,), (5, 8), (5, 3, 8, 8, 8)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"x\.npy: expected images \(N, C, H, W\), \(N, H, W, C\) or \(N, H, W\), got"):
        planar(torch.zeros(shape), "x.npy")
