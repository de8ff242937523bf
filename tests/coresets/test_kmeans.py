import pytest
import torch
from sets import stored_alike, stored_tiles

from dm_replay import PLAIN, Budget, KMeans, Tiles, load_dataset
from dm_replay.coresets.real import central


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


def test_exemplars_are_real_images_of_their_class_and_cover_it_better_than_random_ones(generator, features_are_pixels):
    digits = load_dataset("digits").train.subset([0, 1, 2])
    chosen = KMeans().reduce(digits, Budget(10, PLAIN.but(storage="float32")), seed=0)
    real = digits.take(torch.arange(len(digits)))
    for label in digits.classes.tolist():
        own, kept = real[digits.labels == label], chosen.images[chosen.labels == label]
        assert len(kept) == 10 and (own[:, None] - kept).abs().flatten(2).amax(2).amin(0).max() < 1e-5
        units = [images.flatten(1) / images.flatten(1).norm(dim=1, keepdim=True) for images in (own, kept)]
        draws = [units[0][torch.randperm(len(own), generator=generator)[:10]] for _ in range(50)]
        spread, *others = (float(torch.cdist(units[0], few).amin(1).square().mean()) for few in (units[1], *draws))
        assert spread < min(others)


def test_the_seed_decides(pool):
    sets = [KMeans("convnet:width=4").reduce(pool, Budget(3), seed=seed) for seed in (3, 3, 4)]
    assert stored_alike(sets[0], sets[1]) and not stored_alike(sets[0], sets[2])


def test_shrunk_and_too_few(pool):
    kmeans, tiles = KMeans("convnet:width=4"), Tiles(2, storage="float32")
    shrunk = kmeans.reduce(pool, Budget(1, tiles), seed=0)
    assert (len(shrunk), shrunk.decoded) == (3, 12)
    filled = kmeans.reduce(pool, Budget(2, tiles), seed=0).of_class(2).values
    assert stored_tiles(filled).flatten(1).unique(dim=0).shape[0] == 7, "one of seven is there twice"
    with pytest.raises(ValueError, match="class 2 has 7 images, fewer than 12"):
        kmeans.reduce(pool, Budget(3, tiles), seed=0)
