import pytest
import torch
from dm_replay.coresets.config import ExemplarConfig

from dm_replay.coresets.herding import herd, herding_exemplars


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


def test_exemplars_are_real_images_and_the_mean_is_closer_than_most(pool):
    chosen = herding_exemplars(pool, ExemplarConfig(4, storage="float32"), embed=lambda x: x.flatten(1))
    real = pool.take(torch.arange(len(pool)))
    for label in pool.classes.tolist():
        own, kept = real[pool.labels == label], chosen.images[chosen.labels == label]
        assert (own[:, None] - kept).abs().flatten(2).amax(2).amin(0).max() < 1e-6
        units = [images.flatten(1) / images.flatten(1).norm(dim=1, keepdim=True) for images in (own, kept)]
        far = [(units[0].mean(0) - units[0][torch.randperm(len(own))[:4]].mean(0)).norm() for _ in range(50)]
        assert (units[0].mean(0) - units[1].mean(0)).norm() < torch.stack(far).median()


def test_prefixes_are_herded_and_the_seed_decides_the_network(pool):
    config = ExemplarConfig(4, network="convnet:width=4")
    whole, half = (herding_exemplars(pool, ExemplarConfig(n, network="convnet:width=4"), seed=3) for n in (4, 2))
    assert torch.equal(whole.prefix(2).pixels, half.pixels)
    assert torch.equal(herding_exemplars(pool, config, seed=3).pixels, whole.pixels)


def test_shrunk_and_too_few(pool):
    shrunk = herding_exemplars(pool, ExemplarConfig(1, tiles=2, network="convnet:width=4"))
    assert (len(shrunk), shrunk.decoded) == (3, 12)
    with pytest.raises(ValueError, match="class 2 has 7 images, fewer than 8"):
        herding_exemplars(pool, ExemplarConfig(2, tiles=2))
