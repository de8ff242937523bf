"""Condensing through the decoder, its schedule, and trained networks."""

import time
from dataclasses import replace

import pytest
import torch
from reference import augment_image, slow_decode
from torch.nn import functional as F

from dm_replay import CondenseConfig, SiameseAugment, TensorPool, condense
from dm_replay.condensed.decoder import Decoder
from dm_replay.data.class_index import ClassShard
from dm_replay.matching.extractors import Extractor, TrainedNetworks, read_flat, write_flat
from dm_replay.matching.matcher import Matcher
from dm_replay.matching.presets import PRESETS
from dm_replay.matching.real_batches import RealBatches
from dm_replay.matching.schedule import Schedule
from dm_replay.matching.synthetic import SyntheticPixels
from dm_replay.matching.trained_networks import train_networks
from dm_replay.networks import build_network
from dm_replay.runtime.engine import Engine
from dm_replay.runtime.seeding import new_generator

EXACT = Engine(torch.device("cpu"), torch.float64, compiled=False, chunk=16)
SMALL = dict(ipc=2, iterations=6, batch_real=8, network="convnet:width=8", compile="no", device="cpu")
FAST = CondenseConfig.preset("fast", **SMALL, tiles=2, batch_syn=5, extractors=0, class_weight=0.0)
PLUS = CondenseConfig.preset("plus", **SMALL, tiles=2, batch_syn=5, extractors=2, extractor_steps=3)


def matcher(pool, batch=0, prefix_weight=None, class_weight=0.0, trained=None, inner_steps=1):
    augment = SiameseAugment()
    extractor = Extractor("convnet:width=8", pool.shape, augment, EXACT, classes=3)
    real = RealBatches(pool, ClassShard(pool.classes), 6, None, EXACT)
    start = pool.draw(pool.classes, 3, torch.Generator().manual_seed(1)).double()
    synthetic = SyntheticPixels(start, decoder=Decoder(2), momentum=0.5, batch=batch, prefix_weight=prefix_weight)
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
def test_a_step_through_the_decoder_equals_the_slow_loop(pool, nested):
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
        torch.zeros(2, 3, 1, 8, 8), decoder=Decoder(2), momentum=0.5, batch=5, prefix_weight=None
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
        torch.zeros(1, 3, 1, 8, 8), decoder=Decoder(2), momentum=0.5, batch=4, prefix_weight=nested
    )
    generator = torch.Generator().manual_seed(0)
    draws = torch.cat([synthetic.draw(500, generator) for _ in range(4)])
    longest = draws.amax(1) // 4  # of the first prefix all four tiles are drawn, of longer ones some
    assert abs((longest == 0).float().mean() - 0.5 / 1.75) < 0.04
    assert draws.max() == 11 and draws.min() == 0


def test_all_of_the_images_where_the_part_is_not_smaller():
    synthetic = SyntheticPixels(
        torch.zeros(1, 2, 1, 8, 8), decoder=Decoder(), momentum=0.5, batch=2, prefix_weight=None
    )
    assert synthetic.draw(1, torch.Generator()) is None and synthetic.rows == 2
    assert synthetic.decode(synthetic.pixels, None) is synthetic.pixels


def test_formation_1_of_the_fast_schedule_is_the_plain_set(pool):
    plain = CondenseConfig.preset("paper", **SMALL)
    same = CondenseConfig.preset("fast", **SMALL, **{
        name: value for name, value in PRESETS["paper"].items() if name not in SMALL
    })  # fmt: skip
    assert torch.equal(condense(pool, plain).images, condense(pool, same).images)


@pytest.mark.parametrize(
    "config", [FAST, PLUS, replace(FAST, prefix_weight=0.1)], ids=["fast", "plus", "prefix_weight"]
)
def test_resumed_and_shared_runs_give_the_same_pixels(pool, config):
    states = []
    whole = condense(pool, config, seed=3, on_step=lambda p: states.append(p.state))
    assert whole.formation == 2 and len(whole) == 6 and whole.decoded == 24
    for state in (states[1], states[3]):  # before and within the averaging
        assert torch.equal(condense(pool, config, seed=3, state=state).images, whole.images)
    shards = [condense(pool, config, seed=3, shard=part).values for part in (slice(0, 1), slice(1, 3))]
    torch.testing.assert_close(torch.cat(shards), whole.values, rtol=1e-4, atol=1e-5)


def test_the_result_is_the_mean_of_the_tail(pool):
    config, images = replace(FAST, tail_average=0.5, storage="float32"), []
    result = condense(pool, config, on_step=lambda p: images.append(p.images))
    torch.testing.assert_close(result.values, torch.stack(images[3:]).mean(0), rtol=1e-5, atol=1e-6)
    last = condense(pool, replace(config, tail_average=0.0), on_step=lambda p: images.append(p.images))
    assert torch.equal(last.values, images[-1])


def test_the_learning_rate_falls_as_a_cosine():
    schedule = Schedule(CondenseConfig.preset("paper", lr_img=2.0, lr_final=0.1, tail_average=0.25, iterations=100))
    assert [schedule.lr(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([2.0, 1.1, 0.2])
    assert not schedule.averages(0.74) and schedule.averages(0.75)
    assert [schedule.progress(i) for i in (0, 50, 100)] == [0.0, 0.5, 1.0]
    plain = Schedule(CondenseConfig.preset("paper"))
    assert plain.lr(0.3) == 1.0 and not plain.averages(0.999)


def test_a_run_bounded_by_seconds_ends_and_says_how_far_it_came(pool):
    parts, started = [], time.perf_counter()
    condense(pool, replace(FAST, seconds=0.5), on_step=lambda p: parts.append(p.part))
    assert time.perf_counter() - started >= 0.5
    assert parts == sorted(parts) and parts[-1] == 1 and all(part < 1 for part in parts[:-1])
    spent = Schedule(replace(FAST, seconds=10.0), spent=9.0)
    assert 0.9 <= spent.progress(5) < 1 and spent.progress(0) == 0.0


def test_trained_networks_learn_and_are_mixed_with_how_they_began(pool):
    extractor = Extractor("convnet:width=8", pool.shape, SiameseAugment(()), EXACT, classes=3)
    trained = train_networks(pool, pool.classes, extractor, 2, 30, seed=1)
    assert trained.initial.shape == trained.trained.shape and len(trained.initial) == 2
    assert torch.equal(trained.trained, train_networks(pool, pool.classes, extractor, 2, 30, seed=1).trained)
    images, labels = pool.take(torch.arange(len(pool))).double(), torch.searchsorted(pool.classes, pool.labels)
    errors = []
    for flat in (trained.initial[0], trained.trained[0]):
        write_flat(extractor.network, flat)
        errors.append(F.cross_entropy(extractor.network(images), labels))
    assert errors[1] < errors[0]
    for number in range(5):
        extractor.refresh(torch.Generator().manual_seed(number), trained)
        now = read_flat(extractor.network)
        parts = [(now - t) / (i - t) for i, t in zip(trained.initial, trained.trained, strict=True)]
        moved = (trained.initial[0] - trained.trained[0]).abs() > 1e-6
        spreads = [part[moved].std() for part in parts]
        assert min(spreads) < 1e-6  # one of them, all parameters by the same part


def test_an_accelerator_checks_the_compiled_training_by_its_gradients(pool, monkeypatch, recwarn):
    made = []
    monkeypatch.setattr(Engine, "accelerated", True)
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: lambda *args: made.append(args) or function(*args))
    extractor = Extractor("convnet:width=8", pool.shape, SiameseAugment(()), replace(EXACT, compiled=True), classes=3)
    train_networks(pool, pool.classes, extractor, 1, 2, seed=1)
    assert len(made) == 3 and not recwarn  # two steps and the check


def test_seconds_bound_the_training_of_networks(pool):
    extractor = Extractor("convnet:width=8", pool.shape, SiameseAugment(()), EXACT, classes=3)
    late = train_networks(pool, pool.classes, extractor, 2, 10**9, seed=1, seconds=0.0)
    for one, other in zip(late, train_networks(pool, pool.classes, extractor, 2, 1, seed=1), strict=True):
        assert torch.equal(one, other)
    bounded = CondenseConfig.preset("plus", **SMALL | {"iterations": 10**9}, extractor_steps=10**9, seconds=1.0)
    began = time.perf_counter()
    made = []
    condense(pool, bounded, on_step=lambda step: made.append(step.iteration))
    assert len(made) > 1 and time.perf_counter() - began < 60


def test_one_class_alone_has_no_class_term_and_random_networks(pool):
    plain = replace(PLUS, extractors=0, class_weight=0.0)
    one, other = (condense(pool, config, classes=[5], seed=2) for config in (PLUS, plain))
    assert torch.equal(one.images, other.images)


def test_presets_are_what_they_were():
    paper = {
        "iterations": 20_000, "batch_real": 256, "batch_syn": 0, "inner_steps": 1, "lr_img": 1.0, "lr_final": 1.0,
        "momentum": 0.5, "tail_average": 0.0, "tiles": 1, "color": 1, "enlarging": "linear", "extractors": 0,
        "extractor_steps": 200, "class_weight": 0.0, "distance": "mean", "init": "real",
        "synthetic_precision": "float32",
    }  # fmt: skip
    fast = {
        "iterations": 300, "batch_real": 32, "batch_syn": 40, "inner_steps": 2, "lr_img": 0.5, "lr_final": 0.1,
        "momentum": 0.5, "tail_average": 0.5, "tiles": 0, "color": 0, "enlarging": "sharp", "extractors": 2,
        "extractor_steps": 150, "class_weight": 10.0, "distance": "moments", "init": "herding",
        "synthetic_precision": "auto",
    }  # fmt: skip
    plus = fast | {"iterations": 5_000, "extractors": 4, "extractor_steps": 700, "class_weight": 20.0}
    assert {"paper": paper, "fast": fast, "plus": plus} == PRESETS
    assert vars(CondenseConfig.preset("paper")).items() >= paper.items() and CondenseConfig.preset("paper").ipc == 10
    changed = CondenseConfig.preset("fast", batch_real=64)
    assert changed.batch_real == 64 and vars(changed).items() >= (fast | {"batch_real": 64}).items()


@pytest.mark.parametrize(
    ("shape", "tiles", "color", "storage"),
    [
        ((3, 32, 32), 2, 4, "uint4"),
        ((3, 28, 28), 2, 2, "uint4"),
        ((3, 30, 33), 2, 1, "uint8"),
        ((1, 28, 28), 2, 4, "uint4"),
        ((3, 8, 8), 1, 4, "uint4"),
    ],
)
def test_where_bytes_count_images_are_stored_as_small_as_fits(shape, formation, color, storage):
    bounded = CondenseConfig.preset("fast", bytes_per_class=5000).sized(shape)
    assert (bounded.formation, bounded.color, bounded.storage) == (formation, color, storage)
    assert bounded.sized(shape) == bounded and bounded.decoder(shape[0]).check(shape) is None
    images = CondenseConfig.preset("fast", ipc=3).sized(shape)
    assert (images.ipc, images.formation, images.color, images.storage) == (3, formation, 1, "float32")
    whole = CondenseConfig.preset("paper", bytes_per_class=5000).sized((3, 32, 32))
    assert (whole.ipc, whole.formation, whole.color, whole.storage) == (1, 1, 1, "uint8")


def test_without_networks_a_preset_has_no_class_term():
    assert CondenseConfig.preset("fast", extractors=0).class_weight == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(preset="slow"), "unknown preset 'slow'; choose from paper, fast, plus"),
        (dict(tiles=-1), "formation must be a whole number of at least 0"),
        (dict(batch_syn=-1), "batch_syn must be a whole number of at least 0"),
        (dict(seconds=0), "seconds must be above 0"),
        (dict(tail_average=1.5), "expected lr_final and tail_average in"),
        (dict(class_weight=1.0), "class_weight needs trained networks"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        CondenseConfig.preset("paper", **settings)


def test_a_formation_that_does_not_fit_is_refused_before_anything_is_done(pool):
    with pytest.raises(ValueError, match="formation 5 does not fit 8x8 images"):
        condense(pool, replace(FAST, tiles=5))


@pytest.mark.parametrize(
    ("storage", "color", "each"),
    [("uint8", 1, 3 * 64 + 24), ("uint4", 2, 48 + 8), ("float32", 1, 768), ("uint6", 4, 62)],
)
def test_as_many_images_as_fit_the_bytes_of_a_class(storage, color, each):
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pool = TensorPool(pixels, torch.arange(30) % 2)
    settings = SMALL | {"iterations": 1, "storage": storage, "color": color}
    condensed = condense(pool, CondenseConfig.preset("paper", **settings, bytes_per_class=3 * each + each - 1))
    assert len(condensed) == 6 and condensed.nbytes == 6 * each and condensed.meta["config"]["ipc"] == 3
    with pytest.raises(
        ValueError, match=f"bytes_per_class {each - 1} is less than the {each} bytes of one stored image"
    ):
        condense(pool, CondenseConfig.preset("paper", **settings, bytes_per_class=each - 1))
    with pytest.raises(ValueError, match="bytes_per_class must be a whole number of at least 1, got 0"):
        CondenseConfig.preset("paper", bytes_per_class=0)


@pytest.mark.parametrize(("network", "features"), [("convnet:width=4", 16), ("convnet:width=16,depth=1", 256)])
def test_the_class_term_keeps_its_proportion_to_a_sum_over_features(pool, monkeypatch, network, features):
    weights = []

    class Seen(Matcher):
        def __init__(self, *args, class_weight, **more):
            weights.append(class_weight)
            super().__init__(*args, class_weight=class_weight, **more)

    monkeypatch.setattr("dm_replay.matching.condense.Matcher", Seen)
    settings = dict(ipc=1, iterations=1, extractors=1, extractor_steps=1, batch_real=4, compile="no", device="cpu")
    condense(pool, CondenseConfig.preset("fast", class_weight=10.0, network=network, **settings))
    assert weights == [10.0 * features / 2048]
