"""Condensing through a code whose images take as many bytes as they need: its laws, against slow loops."""

import math

import pytest
import torch
from pools import natural

from dm_replay import PLAIN, CondenseConfig, Dct, Tiles, condense
from dm_replay.condensed.rounding import RATE, rounded
from dm_replay.condensed.spectrum import Spectrum
from dm_replay.data.pool import TensorPool
from dm_replay.matching.rate_control import RateControl
from dm_replay.matching.synthetic import SyntheticPixels

CODEC = Dct(2.0).fit((3, 16, 16))
QUICK = dict(network="convnet:width=8", compile="no", device="cpu", extractors=0, batch_real=8, batch_syn=5)


def values_of(classes, each):
    return CODEC.encode(natural(classes * each, (3, 16, 16))).unflatten(0, (classes, each))


def pool_of(classes, each):
    images = 60 * natural(classes * each, (3, 16, 16)) + 128
    return TensorPool(images.clamp(0, 255).to(torch.uint8), torch.arange(classes).repeat_interleave(each))


def taken(values):
    """Bytes of each class, by what is really written."""
    return torch.stack([CODEC.store(own).costs.sum() for own in values])


def slow_width(value_place, image, spectrum):
    """Bits that one unit more takes, of the value at a place of an image: 1 / (width · ln 2), by its band's level."""
    for band in spectrum.bands:
        if value_place in band.places.tolist():
            own = image.flatten()[band.places] / CODEC.step
            level = int(rounded(own[None], band, torch.tensor([RATE])).levels)
            table = int(band.tables[band.places.tolist().index(value_place)]) + 2 * level
            return 1 / (2 ** (min(max(table, -16), 56) / 4) * math.log(2)) / CODEC.step
    return 1 / (2 ** (-16 / 4) * math.log(2)) / CODEC.step


def test_bits_are_what_is_written_and_a_unit_more_takes_what_the_table_says():
    values, spectrum = values_of(1, 40)[0], Spectrum.of((3, 16, 16), CODEC.step)
    bits, each = CODEC.bits(values)
    assert float(bits.sum()) / 8 == pytest.approx(float(taken(values[None])), rel=0.05)
    assert each.shape == values.shape
    for image in (0, 7):
        for place in (0, 1, 16, 40, 255, 256, 300, 600, 767):
            assert float(each[image].flatten()[place]) == pytest.approx(
                slow_width(place, values[image], spectrum), rel=1e-5
            )


def test_what_is_never_coded_is_settled_to_zero():
    codec = Dct(6.0).fit((3, 64, 64))
    noise = 100 * torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    kept = codec.read(codec.but(most=10**6).store(noise), torch.arange(2))
    lost = (kept == 0).all(0)
    assert lost.float().mean() > 0.1
    assert (codec.settled(noise)[:, lost] == 0).float().mean() > 0.9


def test_settled_values_are_whole_steps_and_let_gradients_pass():
    values = values_of(1, 4)[0].requires_grad_()
    settled = CODEC.settled(values)
    whole = settled.detach() / CODEC.step
    assert torch.allclose(whole, whole.round(), atol=1e-4)
    for value, kept in zip(values.flatten().tolist()[::37], settled.flatten().tolist()[::37], strict=True):
        size = abs(value) / CODEC.step
        expected = math.copysign(math.floor(size + 0.35), value) * CODEC.step
        assert kept == pytest.approx(expected, abs=1e-4)
    (gradient,) = torch.autograd.grad((settled * torch.arange(len(settled)).view(-1, 1, 1, 1)).sum(), values)
    assert torch.equal(gradient, torch.arange(4.0).view(-1, 1, 1, 1).expand_as(values))
    assert Tiles().settled(values) is values and Tiles().bits(values) is None


def test_an_update_is_a_step_along_the_metric_and_one_towards_zero():
    values = values_of(2, 3).double()
    rate = RateControl(values, CODEC, 20, bound=100.0)
    rate.steer(values)
    own = dict(codec=CODEC, size=(16, 16), momentum=0.5, batch=0, prefix_weight=None)
    synthetic, gradient = SyntheticPixels(values.clone(), rate=rate, **own), torch.randn_like(values)
    synthetic.lr.fill_(0.3)
    synthetic.update(gradient)
    each = torch.stack([CODEC.bits(one)[1] for one in values])
    for place in ((0, 0, 0, 0, 0), (0, 2, 0, 3, 1), (1, 1, 2, 0, 5), (1, 0, 0, 15, 15), (0, 1, 1, 2, 2)):
        group, _, *value = place
        mean = sum(float(each[(group, image, *value)]) for image in range(3)) / 3
        metric = 2 * min(1 / (math.log(2) * mean), 20.0)
        moved = float(values[place]) - 0.3 * metric * float(gradient[place])
        pull = 0.3 * metric * float(rate.price[group]) * float(each[place])
        expected = math.copysign(max(abs(moved) - pull, 0), moved)
        assert float(synthetic.pixels[place]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_price_brings_a_class_within_its_bytes_and_leaves_one_that_is_within_alone():
    values = values_of(2, 10)
    values[1] *= 0.1
    before = taken(values)
    allowed, lr = float(before[0]) / 2, torch.tensor(0.5)
    assert before[1] < allowed
    rate, started, prices = RateControl(values, CODEC, round(allowed), bound=1.0), values.clone(), []
    for _ in range(60):
        rate.steer(values)
        prices.append(rate.price.clone())
        for _ in range(5):
            rate.shrink(values, lr)
    after = taken(values)
    assert after[0] <= 1.1 * allowed
    dearest = torch.stack(prices).amax(0)
    assert dearest[0] > 3 * dearest[1] and prices[-1][1] < prices[0][1]
    assert (values[1] - started[1]).square().mean() < 0.1 * started[1].square().mean()


def test_a_set_comes_down_to_its_bytes_and_a_resumed_run_gives_the_same_images():
    images = natural(90, (3, 16, 16)) + 0.7 * torch.randn(90, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    pool, states = TensorPool(images, torch.arange(3).repeat_interleave(30)), []
    config = CondenseConfig.preset("fast", bytes_per_class=600, codec=Dct(), iterations=60, lr_img=2.0, **QUICK)
    whole = condense(pool, config, seed=3, on_step=lambda step: states.append(step.state))
    codec = config.fit(pool.shape).codec

    def ratios(state):
        return [float(codec.bits(own)[0].sum()) / 4800 for own in state["pixels"]]

    assert min(ratios(states[0])) > 1.3 and max(ratios(states[-1])) < 1.15
    assert all(whole.of_class(label).nbytes <= 600 for label in range(3))
    assert not torch.equal(states[24]["price"], states[0]["price"])
    assert torch.equal(condense(pool, config, seed=3, state=states[24]).images, whole.images)
    one = condense(pool, config, seed=3, shard=slice(1, 2)).images
    assert torch.equal(one, whole.of_class(1).images)


def test_a_flat_image_stays_bounded():
    pool = TensorPool(torch.cat([torch.zeros(20, 1, 8, 8), torch.full((20, 1, 8, 8), 1.5)]), [0] * 20 + [1] * 20)
    values = []
    config = CondenseConfig.preset("fast", bytes_per_class=300, codec=Dct(), iterations=30, **QUICK)
    condense(pool, config, on_step=lambda step: values.append(float(step.images.abs().max())))
    assert max(values) < 40


def test_condensing_through_the_code_lowers_the_loss_of_images_as_they_are_stored():
    def losses(lr):
        found, own = [], dict(bytes_per_class=90, codec=Dct(), iterations=120, lr_img=lr, init="real")
        config = CondenseConfig.preset("fast", **own, **QUICK)
        condense(pool_of(2, 40), config, seed=1, on_step=lambda step: found.append(float(step.loss)))
        return sum(found[60:])

    moved, still = losses(2.0), losses(1e-9)  # the same draws
    assert moved < 0.6 * still


def test_long_waves_of_large_images_are_not_taken_for_runaway_pixels():
    bright = torch.full((8, 3, 96, 96), 255, dtype=torch.uint8)
    bright[:, :, :2] = 0
    pool = TensorPool(bright, torch.arange(2).repeat_interleave(4))
    config = CondenseConfig.preset("fast", ipc=2, codec=Dct(), iterations=2, lr_img=1e-3, **QUICK)
    assert float(Dct().encode(pool.take(torch.arange(8))).abs().max()) > 100
    assert len(condense(pool, config)) == 4


def test_images_that_all_take_as_much_are_condensed_as_before():
    config = CondenseConfig.preset("fast", ipc=2, codec=PLAIN, iterations=2, **QUICK)
    states = []
    condense(pool_of(2, 10), config, on_step=lambda step: states.append(step.state))
    assert not {"price", "pull", "metric"} & set(states[-1])
