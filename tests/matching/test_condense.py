"""Laws of the condensation step, against the slow reference."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from reference import matching_loss

from dm_replay import PLAIN, CondenseConfig, ImageSet, SiameseAugment, TensorPool, condense
from dm_replay.data.classes import ClassShard
from dm_replay.matching.extractors import Extractor
from dm_replay.matching.matcher import Matcher
from dm_replay.matching.real_batches import RealBatches, blocks_of
from dm_replay.matching.synthetic import SyntheticPixels
from dm_replay.runtime.engine import Engine
from dm_replay.runtime.seeding import new_generator

FAMILIES = SiameseAugment.known
EXACT = Engine(torch.device("cpu"), torch.float64, compiled=False, chunk=16)
QUICK = dict(ipc=2, iterations=6, batch_real=8, network="convnet:width=16", compile="no")


def matcher(pool, families=FAMILIES, network="convnet:width=8", weights=None, engine=EXACT, previous=None, ipc=3):
    augment = SiameseAugment(tuple(families))
    extractor = Extractor(network, pool.shape, augment, engine)
    real = RealBatches(pool, ClassShard(pool.classes), 6, previous, engine, whole=extractor.batch_statistics)
    start = pool.draw(pool.classes, ipc, torch.Generator().manual_seed(1))
    start = start.to(engine.device, extractor.master)
    nested = None if weights is None else weights.to(start)
    synthetic = SyntheticPixels(start, codec=PLAIN, size=pool.shape[1:], momentum=0.5, batch=0, prefix_weight=nested)
    return Matcher(real, extractor, synthetic, augment=augment, engine=engine, seed=4)


def slow_step(fast, iteration, previous_images=None):
    """(loss per class, gradient) of one iteration by the reference, with the same draws and the same network."""
    pool, groups = fast.real.pool, len(fast.pixels)
    params = fast.augment.sample(groups, pool.shape[1:], new_generator(4, "augment", iteration))
    real = pool.take(fast.real.draw(new_generator(4, "draw", iteration))).double()
    pixels = fast.pixels.clone().requires_grad_()
    network = fast.extractor.network
    loss = matching_loss(
        network, list(real), list(pixels), params, network.batch_statistics, fast.synthetic.prefix_weight
    )
    return loss.detach() / groups, torch.autograd.grad(loss, pixels)[0]


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("families", [(f,) for f in FAMILIES] + [FAMILIES])
def test_the_batched_step_equals_the_slow_loop(pool, families, norm):
    fast = matcher(pool, families, f"convnet:width=8,norm={norm}")
    before, velocity = fast.pixels.clone(), torch.zeros_like(fast.pixels)
    for iteration in range(2):
        loss = fast.step(iteration)
        after, fast.synthetic.pixels = fast.pixels, before
        expected, gradient = slow_step(fast, iteration)
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
        velocity = 0.5 * velocity + gradient
        torch.testing.assert_close(after, before - velocity, rtol=1e-8, atol=1e-9)
        before, fast.synthetic.pixels = after.clone(), after


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_nested_step_equals_the_slow_loop(pool, norm):
    fast = matcher(pool, network=f"convnet:width=8,norm={norm}", weights=torch.tensor([0.3, 0.1, 1.0]))
    before = fast.pixels.clone()
    loss = fast.step(0)
    after, fast.synthetic.pixels = fast.pixels, before
    expected, gradient = slow_step(fast, 0)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    torch.testing.assert_close(after, before - gradient, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("chunk", [1, 4, 7, 1000])
def test_chunks_do_not_change_the_targets(pool, chunk):
    whole = matcher(pool)
    parts = matcher(pool, engine=Engine(torch.device("cpu"), torch.float64, False, chunk))
    torch.testing.assert_close(parts.step(0), whole.step(0), rtol=1e-9, atol=0)
    torch.testing.assert_close(parts.pixels, whole.pixels, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("groups, rows, chunk", [(3, 10, 4), (3, 10, 20), (7, 5, 15), (1, 256, 64), (2, 1, 100)])
def test_blocks_cover_every_image_once(groups, rows, chunk):
    seen = torch.zeros(groups, rows)
    for group, row in blocks_of(groups, rows, chunk):
        seen[group, row] += 1
        assert seen[group, row].numel() <= chunk
    assert (seen == 1).all()


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_returning_class_is_matched_to_the_count_weighted_mean(pool, norm):
    generator = torch.Generator().manual_seed(2)
    old = ImageSet.from_images(
        torch.randn(3, 3, 8, 8, generator=generator), torch.tensor([5, 5, 9]), counts=torch.tensor([36, 3])
    )
    fast = matcher(pool, network=f"convnet:width=8,norm={norm}", families=(), previous=old)
    fast.step(0)
    indices = fast.real.draw(new_generator(4, "draw", 0))
    params = fast.augment.sample(3, (8, 8), new_generator(4, "augment", 0))
    targets = fast.targets(fast.real.blocks_of_rows(indices), params)
    real = pool.take(indices).double()
    beside = fast.real.previous.double()
    assert torch.equal(beside[1].float(), old.images[:2]) and torch.equal(beside[2, 0].float(), old.images[2])
    for filler, label in ((beside[0, 0], 2), (beside[0, 1], 2), (beside[2, 1], 9)):
        own = pool.take((pool.labels == label).nonzero()[:, 0])
        assert (own - filler).abs().flatten(1).amax(1).min() < 1e-6
    features = fast.extractor.network.embed(torch.cat([real, beside], 1).flatten(0, 1)).view(3, 8, -1)
    fresh = features[:, :6].mean(1)
    torch.testing.assert_close(targets[0], fresh[0])
    torch.testing.assert_close(targets[1], (12 * fresh[1] + 36 * features[1, 6:].mean(0)) / 48)
    torch.testing.assert_close(targets[2], (9 * fresh[2] + 3 * features[2, 6]) / 12)
    assert fast.real.counts.tolist() == [7, 48, 12]


@pytest.mark.parametrize("network", ["convnet", "convnet:norm=batch"])
def test_bfloat16_is_within_noise_of_float32(pool, network):
    """The targets' error in bfloat16 is far below the change that another draw of real images makes."""
    exact = matcher(pool, network=network, engine=Engine(torch.device("cpu"), torch.float32, False, 1000))
    low = matcher(pool, network=network, engine=Engine(torch.device("cpu"), torch.bfloat16, False, 1000))
    exact.step(0), low.step(0)
    params = exact.augment.sample(3, (8, 8), new_generator(4, "augment", 0))
    same, other = (exact.real.draw(new_generator(4, "draw", i)) for i in (0, 1))
    reference = exact.targets(exact.real.blocks_of_rows(same), params)
    error = (low.targets(low.real.blocks_of_rows(same), params) - reference).norm()
    noise = (exact.targets(exact.real.blocks_of_rows(other), params) - reference).norm()
    assert 0 < error < 0.1 * noise


def test_same_seed_same_pixels(pool):
    config = CondenseConfig.preset("paper", **QUICK)
    one, two, other = (
        condense(pool, config, seed=1),
        condense(pool, config, seed=1),
        condense(pool, config, seed=2),
    )
    assert torch.equal(one.images, two.images)
    assert not torch.equal(one.images, other.images)


def test_the_result_keeps_labels_counts_and_settings(pool):
    result = condense(pool, CondenseConfig.preset("paper", **QUICK, storage="uint8"), seed=1)
    assert result.labels.tolist() == [2, 2, 5, 5, 9, 9] and result.counts.tolist() == [7, 12, 9]
    assert result.meta["seed"] == 1 and result.meta["config"]["ipc"] == 2
    assert result.meta["mean"] == pytest.approx(pool.mean) and result.storage == "uint8"
    assert condense(pool, CondenseConfig.preset("paper", **QUICK), classes=[9, 2]).labels.tolist() == [2, 2, 9, 9]


def test_a_state_continues_to_the_same_pixels(pool):
    config = CondenseConfig.preset("paper", **QUICK)
    states = []
    straight = condense(pool, config, seed=3, on_step=lambda p: states.append(p.state))
    for state in (states[0], states[3], states[5]):
        assert torch.equal(condense(pool, config, seed=3, state=state).images, straight.images)


def test_the_loss_falls():
    """Two classes, bright left or right halves, from noise."""
    images = torch.zeros(20, 1, 8, 8)
    images[:10, ..., :4], images[10:, ..., 4:] = 1.0, 1.0
    losses = []
    config = CondenseConfig.preset(
        "paper", **{**QUICK, "iterations": 60, "init": "noise", "augment": "none", "network": "convnet:depth=1"}
    )
    condense(TensorPool(images, [0] * 10 + [1] * 10), config, on_step=lambda p: losses.append(float(p.loss)))
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])


def test_the_global_generator_is_left_alone(pool):
    before = torch.get_rng_state()
    condense(pool, CondenseConfig.preset("paper", **QUICK))
    assert torch.equal(before, torch.get_rng_state())


def test_grey_images_and_one_image_per_class():
    images = torch.randint(0, 256, (6, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pool = TensorPool(images, [0, 0, 0, 3, 3, 3])
    result = condense(pool, CondenseConfig.preset("paper", **{**QUICK, "ipc": 1, "iterations": 2}))
    assert result.images.shape == (2, 1, 28, 28) and result.images.isfinite().all()


@pytest.mark.parametrize(
    "setting, message",
    [
        (dict(ipc=0), "ipc must be a whole number of at least 1, got 0"),
        (dict(ipc=1.5), "ipc must be a whole number of at least 1, got 1.5"),
        (dict(iterations=0), "iterations must be a whole number of at least 1"),
        (dict(lr_img=float("nan")), "expected lr_img > 0"),
        (dict(init="zeros"), "unknown init 'zeros'; choose from real, herding, noise"),
        (dict(network="transformer"), "unknown network 'transformer'"),
        (dict(augment="blur"), "unknown augmentation 'blur'"),
        (dict(storage="int4"), "unknown storage"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(ValueError, match=message):
        CondenseConfig.preset("paper", **setting)


def test_fewer_real_images_than_ipc(pool):
    with pytest.raises(ValueError, match="class 2 has 7 real images, fewer than ipc 8: lower ipc or start from noise"):
        condense(pool, CondenseConfig.preset("paper", **{**QUICK, "ipc": 8}))
    noise = condense(pool, CondenseConfig.preset("paper", **{**QUICK, "ipc": 8, "init": "noise", "iterations": 1}))
    assert len(noise) == 24
    with pytest.raises(ValueError, match="class 3 has no images"):
        condense(pool, CondenseConfig.preset("paper", **QUICK), classes=[3])
    with pytest.raises(ValueError, match="expected at least one class"):
        condense(pool, CondenseConfig.preset("paper", **QUICK), classes=[])


def test_a_state_or_previous_set_of_something_else(pool):
    states = []
    condense(pool, CondenseConfig.preset("paper", **QUICK), on_step=lambda p: states.append(p.state))
    with pytest.raises(ValueError, match=r"the state holds pixels \(3, 2, 3, 8, 8\), this condensation has \(3, 4"):
        condense(pool, CondenseConfig.preset("paper", **{**QUICK, "ipc": 4}), state=states[0])
    gray = ImageSet.from_images(torch.zeros(1, 1, 8, 8), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"previous images are \(1, 8, 8\), the real ones \(3, 8, 8\)"):
        condense(pool, CondenseConfig.preset("paper", **QUICK), previous=gray)


def test_threads_take_turns(pool):
    """Condensations that shard a cached network, in several threads, give what each gives alone."""
    config = CondenseConfig.preset("paper", **QUICK)
    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(lambda seed: condense(pool, config, seed=seed).images, range(3)))
    for seed, images in enumerate(together):
        assert torch.equal(images, condense(pool, config, seed=seed).images)
