"""What other programs are given."""

import numpy as np
import pytest
import torch
from sets import of_values

from dm_replay import ImageSet, Tiles
from dm_replay.condensed.export import to_npz

MEAN, STD, NAMES = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3), ("ant", "bee", "Käfer")


@pytest.mark.parametrize("tiles", [1, 2])
def test_arrays_say_how_to_get_at_pixels_and_what_the_classes_are_called(tmp_path, tiles):
    pixels = torch.rand(3, 3, 8, 8)
    images = (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    meta = {"mean": MEAN, "std": list(STD), "names": NAMES}
    condensed = of_values(images, [0, 2, 2], Tiles(tiles, "linear"), meta=meta)
    to_npz(condensed, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz", allow_pickle=False) as written:
        assert set(written) == {"images", "labels", "mean", "std", "names"}
        shown = written["images"] * written["std"][:, None, None] + written["mean"][:, None, None]
        assert [written["names"][label] for label in written["labels"][:: tiles**2]] == ["ant", "Käfer", "Käfer"]
    if tiles == 1:
        np.testing.assert_allclose(shown, pixels.numpy(), atol=1e-5)
    assert shown.dtype == np.float32


@pytest.mark.parametrize("meta", [{}, {"names": None}, {"names": []}])
def test_what_is_not_known_is_not_there(tmp_path, meta):
    to_npz(ImageSet.from_images(torch.rand(2, 1, 8, 8), torch.tensor([0, 1]), meta=meta), tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as written:
        assert set(written) == {"images", "labels"}
