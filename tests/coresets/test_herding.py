import pytest
import torch
from sets import stored_alike, stored_tiles

from dm_replay import PLAIN, Budget, Herding, Tiles
from dm_replay.coresets.real import herd


def slow_herding(features: torch.Tensor, count: int) -> list[int]:
    """Try every row that is free; keep the one whose mean is closest."""
    taken: list[int] = []
    for _ in range(count):
        free = [row for row in range(len(features)) if row not in taken]
        means = {row: features[[*taken, row]].mean(0) for row in free}
        taken.append(min(free, key=lambda row: float((means[row] - features.mean(0)).norm())))
    return taken


def test_herding_is_the_slow_loops(generator):
    features = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    for count in (2, 12):  # one by one; all products at once
        assert herd(features, count).tolist() == slow_herding(features, count)
    assert sorted(herd(features, 30).tolist()) == list(range(30))


@pytest.mark.parametrize("count", [20, 200])
def test_rounding_chooses_no_other_rows(count, generator):
    """Features as a network's: positive, of length 1; the float32 of what is taken stays small over many choices."""
    features = torch.randn(800, 64, generator=generator).relu()
    features /= features.norm(dim=1, keepdim=True)
    assert herd(features, count).tolist() == herd(features.double(), count).tolist()


def test_exemplars_are_real_images_and_the_mean_is_closer_than_most(pool, features_are_pixels):
    chosen = Herding().reduce(pool, Budget(4, PLAIN.but(storage="float32")), seed=0)
    real = pool.take(torch.arange(len(pool)))
    for label in pool.classes.tolist():
        own, kept = real[pool.labels == label], chosen.images[chosen.labels == label]
        assert (own[:, None] - kept).abs().flatten(2).amax(2).amin(0).max() < 1e-6
        units = [images.flatten(1) / images.flatten(1).norm(dim=1, keepdim=True) for images in (own, kept)]
        far = [(units[0].mean(0) - units[0][torch.randperm(len(own))[:4]].mean(0)).norm() for _ in range(50)]
        assert (units[0].mean(0) - units[1].mean(0)).norm() < torch.stack(far).median()


def test_prefixes_are_herded_and_the_seed_decides_the_network(pool):
    herding = Herding("convnet:width=4")
    whole, half, again = (herding.reduce(pool, Budget(n), seed=3) for n in (4, 2, 4))
    assert stored_alike(whole.prefix(2), half) and stored_alike(again, whole)
    assert not stored_alike(herding.reduce(pool, Budget(4), seed=4), whole)


def test_shrunk_and_too_few(pool):
    herding, tiles = Herding("convnet:width=4"), Tiles(2, storage="float32")
    shrunk = herding.reduce(pool, Budget(1, tiles), seed=0)
    assert (len(shrunk), shrunk.decoded) == (3, 12)
    filled = herding.reduce(pool, Budget(2, tiles), seed=0).of_class(2).values
    assert stored_tiles(filled).flatten(1).unique(dim=0).shape[0] == 7, "one of seven is there twice"
    with pytest.raises(ValueError, match="class 2 has 7 images, fewer than 12"):
        herding.reduce(pool, Budget(3, tiles), seed=0)
