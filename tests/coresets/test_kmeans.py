import pytest
import torch
from dm_replay.coresets.config import ExemplarConfig

from dm_replay import load_dataset
from dm_replay.coresets.kmeans import central, kmeans_exemplars


def test_one_of_each_cluster_and_the_one_at_its_center(generator):
    """Three clusters far apart, of 9, 6 and 3 points around a point at their very center."""
    around = torch.randn(15, 4, generator=generator)
    sizes, places = [8, 5, 2], [0.0, 100.0, 200.0]
    clusters = zip(places, around.split(sizes), strict=True)
    features = torch.cat([place + torch.cat([points, points.mean(0, keepdim=True)]) for place, points in clusters])
    assert central(features, 3).tolist() == [8, 14, 17], "largest cluster first"


def test_distinct_whatever_the_clusters():
    features = torch.tensor([[0.0], [0.0], [0.0], [1.0], [5.0]])
    assert sorted(central(features, 5).tolist()) == [0, 1, 2, 3, 4]


def test_exemplars_are_real_images_of_their_class_and_cover_it_better_than_random_ones(generator):
    digits = load_dataset("digits").train.subset([0, 1, 2])
    chosen = kmeans_exemplars(digits, ExemplarConfig(10, storage="float32"), embed=lambda x: x.flatten(1))
    real = digits.take(torch.arange(len(digits)))
    for label in digits.classes.tolist():
        own, kept = real[digits.labels == label], chosen.images[chosen.labels == label]
        assert len(kept) == 10 and (own[:, None] - kept).abs().flatten(2).amax(2).amin(0).max() < 1e-5
        units = [images.flatten(1) / images.flatten(1).norm(dim=1, keepdim=True) for images in (own, kept)]
        draws = [units[0][torch.randperm(len(own), generator=generator)[:10]] for _ in range(50)]
        spread, *others = (float(torch.cdist(units[0], few).amin(1).square().mean()) for few in (units[1], *draws))
        assert spread < min(others)


def test_the_seed_decides(pool):
    config = ExemplarConfig(3, network="convnet:width=4")
    sets = [kmeans_exemplars(pool, config, seed=seed).pixels for seed in (3, 3, 4)]
    assert torch.equal(sets[0], sets[1]) and not torch.equal(sets[0], sets[2])


def test_shrunk_and_too_few(pool):
    shrunk = kmeans_exemplars(pool, ExemplarConfig(1, tiles=2, network="convnet:width=4"))
    assert (len(shrunk), shrunk.decoded) == (3, 12)
    with pytest.raises(ValueError, match="class 2 has 7 images, fewer than 8"):
        kmeans_exemplars(pool, ExemplarConfig(2, tiles=2))
