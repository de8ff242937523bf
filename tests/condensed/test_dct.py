"""Dct against slow references: its transform, its rounding, its tables, and bytes at equal error."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from pools import natural
from sets import kept_by

from dm_replay import Dct, ImageSet, load_dataset
from dm_replay.condensed.entropy import FINEST, WIDEST, frequencies, largest
from dm_replay.condensed.rounding import RATE, rounded
from dm_replay.condensed.spectrum import LEVEL_TABLE, LEVELS, PER_LEVEL, Spectrum, _quarters


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 4, 6), (2, 8, 8)])
def test_the_transform_is_the_cosine_transform_by_its_definition(shape):
    images = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, (channels, height, width) = Dct().encode(images), shape
    planes = images.tolist()
    if channels == 3:
        red, green, blue = images.unbind(1)
        mixed = (red + green + blue) / 3**0.5, (red - blue) / 2**0.5, (red - 2 * green + blue) / 6**0.5
        planes = torch.stack(mixed, 1).tolist()
    for image, plane, u, v in np.ndindex(2, channels, height, width):
        total = 0.0
        for y, x in np.ndindex(height, width):
            wave = math.cos(math.pi * (2 * y + 1) * u / (2 * height)) * math.cos(
                math.pi * (2 * x + 1) * v / (2 * width)
            )
            total += planes[image][plane][y][x] * wave
        scale = math.sqrt((1 if u == 0 else 2) / height * (1 if v == 0 else 2) / width)
        assert float(found[image, plane, u, v]) == pytest.approx(total * scale, abs=1e-12)


@pytest.mark.parametrize("shape", [(3, 31, 17), (1, 28, 28), (5, 1, 9)])
def test_decoding_is_its_inverse_and_keeps_lengths_and_gradients(shape):
    images = torch.randn(3, *shape, dtype=torch.float64)
    values = Dct().encode(images)
    assert torch.allclose(Dct().decode(values, torch.tensor([2, 0]), shape[1:]), images[[2, 0]], atol=1e-12)
    assert torch.allclose(values.square().sum(), images.square().sum())
    moved = values.clone().requires_grad_()
    Dct().decode(moved, torch.arange(3), shape[1:]).square().sum().backward()
    assert torch.allclose(moved.grad, 2 * values)


def slow_bits(number, table):
    """Of a Laplace variable of the table's width, rounded; no number takes more than those of frequency 1."""
    width = 2 ** (table / 4)
    below = lambda x: 0.5 * math.exp(x / width) if x < 0 else 1 - 0.5 * math.exp(-x / width)  # noqa: E731
    if number == 0:
        return -math.log2(2 * below(0.5) - 1)
    magnitude = abs(number)
    log = math.log(0.5) - (magnitude - 0.5) / width + math.log(-math.expm1(-1 / width))
    return min(-log / math.log(2), 24.0)


def slow_cost(coefficients, tables, rate, level):
    """The least cost of a band of one image at a level, its numbers and bits."""
    cost, numbers, bits = rate * slow_bits(level, LEVEL_TABLE), [], slow_bits(level, LEVEL_TABLE)
    for value, base in zip(coefficients, tables, strict=True):
        table = base + PER_LEVEL * level
        if table < FINEST:
            numbers.append(0)
            cost += value**2
            continue
        table = min(table, WIDEST)
        nearest = min(math.floor(abs(value) + 0.5), largest(table))
        own = [(abs(value) - n) ** 2 + rate * slow_bits(n, table) for n in (0, max(nearest - 1, 0), nearest)]
        number = (0, max(nearest - 1, 0), nearest)[own.index(min(own))]
        numbers.append(int(math.copysign(number, value)))
        bits += slow_bits(number, table)
        cost += min(own)
    return cost, numbers, bits


@pytest.mark.parametrize("rate", [0.0, RATE, 1.0])
@pytest.mark.parametrize("step", [0.05, 1.6])
def test_no_level_and_no_numbers_cost_less(rate, step):
    images = natural(3, (3, 8, 8)) * torch.tensor([0.2, 1.0, 4.0]).view(3, 1, 1, 1)
    coefficients = (Dct().encode(images) / step).flatten(1)
    for band in Spectrum.of((3, 8, 8), step).bands:
        own = coefficients[:, band.places]
        found = rounded(own, band, torch.full((3,), rate))
        for row in range(3):
            tried = [slow_cost(own[row].double().tolist(), band.tables.tolist(), rate, level) for level in LEVELS]
            least = min(cost for cost, _, _ in tried)
            cost, numbers, bits = tried[int(found.levels[row]) - LEVELS[0]]
            assert cost == pytest.approx(least, rel=1e-5, abs=1e-4)
            assert float(found.bits[row]) == pytest.approx(bits, rel=1e-4, abs=0.05)
            assert sum(a != b for a, b in zip(found.numbers[row].tolist(), numbers, strict=True)) <= (rate > 0)


def test_without_a_price_numbers_are_the_nearest():
    band = Spectrum.of((3, 32, 32), 0.01).bands[0]
    coefficients = 3_000 * torch.randn(4, len(band.places)) * torch.exp2(band.tables.float() / 4) / 2**10
    found = rounded(coefficients, band, torch.zeros(4))
    tables = band.tables + PER_LEVEL * found.levels[:, None]
    inside = coefficients.abs() < torch.tensor([[largest(min(t, WIDEST)) for t in row] for row in tables.tolist()])
    assert inside.float().mean() > 0.9
    assert ((coefficients - found.numbers).abs()[inside] <= 0.5 + 1e-3).all()


@pytest.mark.parametrize("step", [0.1, 0.02, 0.004])
def test_towards_a_step_of_0_it_is_plain_to_rounding(step):
    codec, _, before, after = kept_by(Dct(step, most=100_000), natural(4))
    error = float((after - before).square().mean())
    assert step**2 / 15 < error < step**2 / 12 * 1.6  # the price of bits adds to that of the nearest number


@pytest.mark.parametrize("shape", [(3, 64, 48), (1, 40, 40)])
def test_larger_images_are_kept_at_the_resolution_asked_for(shape):
    waves = torch.linspace(0, 3, shape[1])[:, None].sin() + torch.linspace(0, 2, shape[2]).cos()
    images = waves.expand(4, *shape) * torch.tensor([0.2, 0.5, 1.0, 2.0]).view(4, 1, 1, 1)
    codec = Dct(0.1, most=10_000, resolution=32).fit(shape)
    height, width = codec.working_shape(shape)[1:]
    assert max(height, width) == 32 and codec.value_shape(shape) == (shape[0], height, width)
    kept = ImageSet.from_images(images, torch.zeros(4), codec)
    assert kept.values.shape[1:] == codec.value_shape(shape) and kept.images.shape == images.shape
    assert (kept.images - images).square().mean().sqrt() < 0.05
    torch.testing.assert_close(codec.resample(images), kept.images, atol=1e-4, rtol=1e-4)
    whole = Dct(0.1, most=10_000).fit(shape)
    assert codec.few_nbytes(images) <= whole.few_nbytes(images) and codec.usual_nbytes(shape) < whole.usual_nbytes(
        shape
    )
    with pytest.raises(ValueError, match="not fitted"):
        codec.store(codec.encode(images))
    flat = torch.full((1, *shape), 1.5)
    assert (ImageSet.from_images(flat, torch.zeros(1), codec).images - 1.5).abs().max() < 0.02


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (5, 9, 16)])
def test_other_images_are_made_as_rough_as_stored_ones(shape):
    noise = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    images = natural(6, shape) if shape[0] == 3 else noise.cumsum(2).cumsum(3) / 10
    codec, _, _, _ = kept_by(Dct(2.0, most=100_000), images)
    kept = ImageSet.from_images(images, torch.zeros(6), codec).images
    torch.testing.assert_close(codec.resample(images), kept)
    torch.testing.assert_close(codec.resample(images[2:3].double()), kept[2:3].double(), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(kept, images, atol=0.1)
    images[1, 0, 0, 0] = torch.nan
    assert codec.resample(images).isnan().sum() >= 1


def test_a_step_that_is_a_whole_number_gives_floats_too():
    whole, same = (kept_by(Dct(step), natural(2))[3] for step in (2, 2.0))
    assert whole.dtype == torch.float32
    assert torch.equal(whole, same)


def estimated(codec, values):
    """Bytes of each image by the bits of its bands, a byte of length, and half a byte of where it ends."""
    spectrum = Spectrum.of(tuple(values.shape[1:]), codec.step)
    steps, rate = values.flatten(1) / codec.step, torch.full((len(values),), RATE)
    return sum(rounded(steps[:, band.places], band, rate).bits for band in spectrum.bands) / 8 + 1.5


def test_estimated_and_written_bits_are_alike():
    for step in (0.5, 1.6, 3.0):
        codec, stored, values, _ = kept_by(Dct(step, most=100_000), natural(100))
        assert stored.nbytes == pytest.approx(float(estimated(codec, values).sum()), rel=0.03)


@pytest.mark.parametrize(("name", "error"), [("cifar10", 0.1157), ("cifar100", 0.0689)])
def test_real_images_take_the_estimated_bytes_and_at_most_45_percent_of_former_ones(name, error, data_root):
    """In mosaics of 4 bits, the code before, these took 146 bytes each, at such mean squared errors."""
    images = load_dataset(name, data_root)[0].take(torch.arange(300))
    codec, stored, values, after = kept_by(Dct(), images)
    assert stored.nbytes == pytest.approx(float(estimated(codec, values).sum()), rel=0.03)
    step = codec.step
    while float((after - values).square().mean()) < error:
        codec, stored, values, after = kept_by(Dct(step := step * 1.05), images)
    assert stored.nbytes < 0.45 * 146 * 300


def test_a_quarter_of_an_octave_is_counted_exactly():
    for number in range(-40, 41):
        for offset in (Fraction(-1, 10**9), Fraction(1, 10**9)):
            edge = Fraction(2 ** ((number + 0.5) / 4)) * (1 + offset)
            assert _quarters(edge) == number + (offset > 0)
    for side in range(1, 300):
        assert _quarters(Fraction(side, 32)) == round(4 * math.log2(side / 32))


def test_larger_waves_have_wider_tables_in_every_plane():
    for shape in [(3, 32, 32), (1, 28, 28), (5, 8, 8), (3, 17, 31), (1, 64, 16), (3, 1, 1)]:
        spectrum, (channels, height, width) = Spectrum.of(shape, 0.3), shape
        tables = np.full(math.prod(shape), -(10**6))
        for band in spectrum.bands:
            assert (band.tables.diff() <= 0).all()
            tables[band.places.numpy()] = band.tables.numpy()
        planes = tables.reshape(shape)
        assert len({place for band in spectrum.bands for place in band.places.tolist()}) == (planes > -(10**6)).sum()
        assert (np.diff(planes, axis=1) <= 0).all() and (np.diff(planes, axis=2) <= 0).all()
        across = Spectrum.of((channels, width, height), 0.3)
        turned = np.full(math.prod(shape), -(10**6))
        for band in across.bands:
            turned[band.places.numpy()] = band.tables.numpy()
        assert np.array_equal(turned.reshape(channels, width, height).swapaxes(1, 2), planes)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64)])
def test_the_fewer_bytes_a_class_has_the_rougher_and_the_fewer_bytes_its_images_take(shape):
    raw = math.prod(shape)
    fitted = [Dct().for_class(shape, round(raw * images)).fit(shape) for images in (0.01, 0.25, 2, 16, 1000)]
    steps, each = [codec.step for codec in fitted], [codec.usual_nbytes(shape) for codec in fitted]
    assert steps == sorted(steps, reverse=True)
    assert each == sorted(each)
    assert steps[1] / steps[2] == pytest.approx(2)  # eight times the bytes
    many = [raw * images / usual for images, usual in zip((0.25, 2, 16), each[1:4], strict=True)]
    assert many == sorted(many)  # and more images still
    assert (steps[0], steps[-1]) == (6.0, 0.5)
    assert Dct(1.0).for_class(shape, raw) == Dct(1.0)
    with pytest.raises(ValueError, match="a class needs bytes for its images, got 0"):
        Dct().for_class(shape, 0)


def test_usual_bytes_are_those_of_tables():
    spectrum = Spectrum.of((3, 16, 16), 1.6)
    bits = 0.0
    tables = [table + spectrum.usual for band in spectrum.bands for table in band.tables.tolist()]
    for table in filter(lambda table: table >= FINEST, tables):
        share = frequencies(table) / frequencies(table).sum()
        bits -= float((share * np.log2(share)).sum())
    assert spectrum.usual_bits == pytest.approx(bits)
