"""Condensing through a codec: its steps, and what of them is drawn, averaged and continued."""

import time
from dataclasses import replace

import pytest
import torch
from reference import augment_image, slow_decode
from torch.nn import functional as F

from dm_replay import PLAIN, CondenseConfig, SiameseAugment, Tiles, condense
from dm_replay.data.classes import ClassShard
from dm_replay.matching.extractors import Extractor, TrainedNetworks, read_flat
from dm_replay.matching.matcher import Matcher
from dm_replay.matching.progress import Schedule
from dm_replay.matching.real_batches import RealBatches
from dm_replay.matching.synthetic import SyntheticPixels
from dm_replay.networks import build_network
from dm_replay.runtime.engine import Engine
from dm_replay.runtime.seeding import new_generator

EXACT = Engine(torch.device("cpu"), torch.float64, compiled=False, chunk=16)
TILES = Tiles(tiles=2, enlarging="linear")
SMALL = dict(ipc=2, iterations=6, batch_real=8, network="convnet:width=8", compile="no", device="cpu")
FAST = CondenseConfig.preset("fast", **SMALL, tiles=2, batch_syn=5, extractors=0)
PLUS = CondenseConfig.preset("plus", **SMALL, tiles=2, batch_syn=5, extractors=2, extractor_steps=3)


def matcher(pool, batch=0, prefix_weight=None, class_weight=0.0, trained=None, inner_steps=1):
    augment = SiameseAugment()
    extractor = Extractor("convnet:width=8", pool.shape, augment, EXACT, classes=3)
    real = RealBatches(pool, ClassShard(pool.classes), 6, None, EXACT)
    start = pool.draw(pool.classes, 3, torch.Generator().manual_seed(1)).double()
    synthetic = SyntheticPixels(
        start, codec=TILES, size=pool.shape[1:], momentum=0.5, batch=batch, prefix_weight=prefix_weight
    )
    return Matcher(
        real, extractor, synthetic, augment=augment, engine=EXACT, seed=4,
        class_weight=class_weight, trained=trained, inner_steps=inner_steps,
    )  # fmt: skip


def slow_gradient(fast, rows=None, prefix_weight=None, class_weight=0.0):
    """Loss per class and pixel gradient, class by class and image by image, with the network as it was left."""
    pool, network = fast.real.pool, fast.extractor.network
    params = fast.augment.sample(3, pool.shape[1:], new_generator(4, "augment", 0))
    real = pool.take(fast.real.draw(new_generator(4, "draw", 0))).double()
    pixels = fast.pixels.clone().requires_grad_()
    total = 0.0
    for group in range(3):
        target = network.embed(torch.stack([augment_image(x, params.take(group)) for x in real[group]])).mean(0)
        images = slow_decode(pixels[group], 2)
        images = images if rows is None else images[rows[group]]
        features = network.embed(torch.stack([augment_image(x, params.take(group)) for x in images]))
        lengths = (
            {len(features): 1.0}
            if prefix_weight is None
            else {4 * (k + 1): w for k, w in enumerate(prefix_weight.tolist())}
        )
        for length, weight in lengths.items():
            total = total + weight * (target.detach() - features[:length].mean(0)).square().sum()
        if class_weight:
            wanted = torch.full((len(features),), group)
            total = total + class_weight * F.cross_entropy(network.classifier(features), wanted)
    return total.detach() / 3, torch.autograd.grad(total, pixels)[0]


@pytest.mark.parametrize(
    "nested", [None, torch.tensor([0.3, 0.1, 1.0], dtype=torch.float64)], ids=["plain", "prefix_weight"]
)
def test_a_step_through_the_codec_equals_the_slow_loop(pool, nested):
    fast = matcher(pool, prefix_weight=nested)
    before = fast.pixels.clone()
    loss = fast.step(0)
    after = fast.pixels.clone()
    fast.pixels.copy_(before)
    expected, gradient = slow_gradient(fast, prefix_weight=nested)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(after, before - gradient, rtol=1e-8, atol=1e-9)


def test_a_part_of_the_training_images_and_the_class_term(pool):
    trained = TrainedNetworks(*(torch.randn(2, 2, 1, dtype=torch.float64).unbind()))
    extractor = Extractor("convnet:width=8", pool.shape, SiameseAugment(), EXACT, classes=3)
    flat = torch.stack(
        [read_flat(extractor.network), read_flat(build_network("convnet:width=8", pool.shape, 3, seed=5).double())]
    )
    trained = TrainedNetworks(flat, flat.flip(0))
    fast = matcher(pool, batch=5, class_weight=0.7, trained=trained)
    before = fast.pixels.clone()
    loss = fast.step(0, lr=0.1)
    after = fast.pixels.clone()
    fast.pixels.copy_(before)
    rows = fast.synthetic.draw(3, new_generator(4, "tiles", 0))
    expected, gradient = slow_gradient(fast, rows, class_weight=0.7)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(after, before - 0.1 * gradient, rtol=1e-8, atol=1e-9)


def test_parts_are_drawn_without_repetition_and_uniformly():
    synthetic = SyntheticPixels(
        torch.zeros(2, 3, 1, 8, 8), codec=TILES, size=(8, 8), momentum=0.5, batch=5, prefix_weight=None
    )
    generator, seen = torch.Generator().manual_seed(0), torch.zeros(12)
    for _ in range(400):
        rows = synthetic.draw(2, generator)
        assert rows.shape == (2, 5) and all(row.unique().numel() == 5 for row in rows)
        seen += rows.flatten().bincount(minlength=12)
    assert (seen / 800 - 5 / 12).abs().max() < 0.06


def test_nested_parts_come_from_prefixes_as_often_as_they_weigh():
    nested = torch.tensor([0.5, 0.25, 1.0])
    synthetic = SyntheticPixels(
        torch.zeros(1, 3, 1, 8, 8), codec=TILES, size=(8, 8), momentum=0.5, batch=4, prefix_weight=nested
    )
    generator = torch.Generator().manual_seed(0)
    draws = torch.cat([synthetic.draw(500, generator) for _ in range(4)])
    longest = draws.amax(1) // 4  # of the first prefix all four tiles are drawn, of longer ones some
    assert abs((longest == 0).float().mean() - 0.5 / 1.75) < 0.04
    assert draws.max() == 11 and draws.min() == 0


def test_all_of_the_images_where_the_part_is_not_smaller():
    synthetic = SyntheticPixels(
        torch.zeros(1, 2, 1, 8, 8), codec=PLAIN, size=(8, 8), momentum=0.5, batch=2, prefix_weight=None
    )
    assert synthetic.draw(1, torch.Generator()) is None and synthetic.rows == 2
    assert synthetic.decode(synthetic.pixels, None) is synthetic.pixels


def test_one_tile_is_decoded_to_the_plain_set(pool, monkeypatch):
    config = CondenseConfig.preset("paper", **SMALL)
    plain, decoded = condense(pool, config), Tiles.decode
    calls = []
    monkeypatch.setattr(Tiles, "plain", False)
    monkeypatch.setattr(Tiles, "decode", lambda *args: calls.append(args) or decoded(*args))
    assert torch.equal(condense(pool, config).values, plain.values) and len(calls) >= config.iterations


@pytest.mark.parametrize(
    "config", [FAST, PLUS, replace(FAST, prefix_weight=0.1)], ids=["fast", "plus", "prefix_weight"]
)
def test_resumed_and_shared_runs_give_the_same_pixels(pool, config):
    states = []
    whole = condense(pool, config, seed=3, on_step=lambda p: states.append(p.state))
    assert whole.codec.tiles == 2 and len(whole) == 6 and whole.decoded == 24
    for state in (states[1], states[3]):  # before and within the averaging
        assert torch.equal(condense(pool, config, seed=3, state=state).images, whole.images)
    shards = [condense(pool, config, seed=3, shard=part).values for part in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(torch.cat(shards), whole.values, rtol=1e-4, atol=1e-5)


def test_the_result_is_the_mean_of_the_tail(pool):
    config, images = FAST.but(tail_average=0.5, storage="float32"), []
    result = condense(pool, config, on_step=lambda p: images.append(p.images))
    torch.testing.assert_close(result.values, torch.stack(images[3:]).mean(0), rtol=1e-5, atol=1e-6)
    last = condense(pool, replace(config, tail_average=0.0), on_step=lambda p: images.append(p.images))
    assert torch.equal(last.values, images[-1])


def test_a_run_bounded_by_seconds_ends_and_says_how_far_it_came(pool):
    parts, started = [], time.perf_counter()
    condense(pool, replace(FAST, seconds=0.5), on_step=lambda p: parts.append(p.part))
    assert time.perf_counter() - started >= 0.5
    assert parts == sorted(parts) and parts[-1] == 1 and all(part < 1 for part in parts[:-1])
    spent = Schedule(replace(FAST, seconds=10.0), spent=9.0)
    assert 0.9 <= spent.progress(5) < 1 and spent.progress(0) == 0.0


def test_tiles_that_do_not_fit_are_refused_before_anything_is_done(pool):
    with pytest.raises(ValueError, match="tiles 5 does not fit 8x8 images"):
        condense(pool, FAST.but(tiles=5))
