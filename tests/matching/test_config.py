"""Settings of a condensation: presets, bytes, schedule, and what is refused."""

import pytest
import torch

from dm_replay import PLAIN, CondenseConfig, CondensedMemory, Dct, TensorPool, Tiles, condense
from dm_replay.matching.progress import Schedule
from dm_replay.runtime.settings import flat

SMALL = dict(ipc=2, iterations=6, batch_real=8, network="convnet:width=8", compile="no", device="cpu")


def test_presets_are_what_they_were():
    paper = {
        "iterations": 20_000, "batch_real": 256, "batch_syn": 0, "inner_steps": 1, "lr_img": 1.0, "lr_final": 1.0,
        "momentum": 0.5, "tail_average": 0.0, "tiles": 1, "enlarging": "linear", "extractors": 0,
        "extractor_steps": 200, "class_weight": 0.0, "distance": "mean", "init": "real",
        "synthetic_precision": "float32",
    }  # fmt: skip
    fast = {
        "iterations": 300, "batch_real": 32, "batch_syn": 40, "inner_steps": 2, "lr_img": 0.5, "lr_final": 0.1,
        "momentum": 0.5, "tail_average": 0.5, "tiles": 0, "enlarging": "sharp", "extractors": 2,
        "extractor_steps": 150, "class_weight": 10.0, "distance": "moments", "init": "herding",
        "synthetic_precision": "auto",
    }  # fmt: skip
    plus = fast | {"iterations": 5_000, "extractors": 4, "extractor_steps": 700, "class_weight": 20.0}
    for name, settings in {"paper": paper, "fast": fast, "plus": plus}.items():
        assert settings.items() <= flat(CondenseConfig.preset(name)).items(), name
        assert CondenseConfig.preset(name).ipc == 10
    assert CondenseConfig() == CondenseConfig.preset("fast") == CondenseConfig.preset()
    changed = flat(CondenseConfig.preset("fast", batch_real=64))
    assert changed == flat(CondenseConfig()) | {"batch_real": 64}


@pytest.mark.parametrize(
    ("shape", "tiles"), [((3, 32, 32), 2), ((3, 28, 28), 2), ((3, 30, 33), 2), ((1, 28, 28), 2), ((3, 8, 8), 1)]
)
def test_where_bytes_count_images_have_as_many_as_they_take(shape, tiles):
    bounded = CondenseConfig.preset("fast", bytes_per_class=5000).fit(shape)
    assert bounded.codec == Dct(resolution=64).for_class(shape, 5000).fit(shape)
    assert bounded.fit(shape) == bounded and bounded.ipc == 5000 // bounded.codec.usual_nbytes(shape)
    mosaics = CondenseConfig.preset("fast", bytes_per_class=5000, enlarging="linear").fit(shape)
    codec = Tiles(tiles, "linear", storage="uint8", size=shape[1:])
    assert (mosaics.codec, mosaics.ipc) == (codec, 5000 // codec.nbytes(shape))
    images = CondenseConfig.preset("fast", ipc=3).fit(shape)
    assert (images.ipc, images.codec) == (3, Tiles(tiles, storage="float32", size=shape[1:]))
    whole = CondenseConfig.preset("paper", bytes_per_class=5000).fit((3, 32, 32))
    assert (whole.ipc, whole.codec) == (1, PLAIN.but(storage="uint8", size=(32, 32)))


def test_without_networks_a_preset_has_no_class_term():
    assert CondenseConfig.preset("fast", extractors=0).class_weight == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(name="slow"), "unknown preset 'slow'; choose from paper, fast, plus"),
        (dict(tiles=-1), "tiles must be a whole number of at least 0"),
        (dict(batch_syn=-1), "batch_syn must be a whole number of at least 0"),
        (dict(seconds=0), "seconds must be above 0"),
        (dict(tail_average=1.5), "expected lr_final and tail_average in"),
        (dict(class_weight=1.0), "class_weight needs trained networks"),
        (dict(mosaics=2), "unknown setting 'mosaics'; choose from .*ipc.*tiles"),
        (dict(machine="cpu"), "expected settings as machine, such as a Machine, got 'cpu'"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        CondenseConfig.preset(**dict(name="paper") | settings)


@pytest.mark.parametrize(("storage", "each"), [("uint8", 3 * 64 + 24), ("float32", 768), ("float16", 384)])
def test_as_many_images_as_fit_the_bytes_of_a_class(storage, each):
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pool = TensorPool(pixels, torch.arange(30) % 2)
    settings = SMALL | {"iterations": 1, "storage": storage}
    condensed = condense(pool, CondenseConfig.preset("paper", **settings, bytes_per_class=3 * each + each - 1))
    assert len(condensed) == 6 and condensed.nbytes == 6 * each and condensed.meta["config"]["ipc"] == 3
    with pytest.raises(
        ValueError, match=f"bytes_per_class {each - 1} is less than the {each} bytes of one stored image"
    ):
        condense(pool, CondenseConfig.preset("paper", **settings, bytes_per_class=each - 1))
    with pytest.raises(ValueError, match="bytes_per_class must be a whole number of at least 1, got 0"):
        CondenseConfig.preset("paper", bytes_per_class=0)


def test_no_class_takes_more_than_its_bytes_where_each_image_has_its_own():
    pool = TensorPool(3 * torch.randn(20, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2)
    most = Dct(1.6).fit(pool.shape).nbytes(pool.shape)
    for allowed in (most, 2 * most + 1):
        config = CondenseConfig.preset("paper", **SMALL | {"iterations": 1}, codec=Dct(1.6), bytes_per_class=allowed)
        assert all(part.nbytes <= allowed for part in condense(pool, config).by_class().values())
    with pytest.raises(ValueError, match=f"bytes_per_class {most - 1} is less than the {most} bytes of one stored"):
        condense(pool, config.but(bytes_per_class=most - 1))


def test_the_bytes_of_a_class_choose_how_rough_its_images_are():
    few, many = (CondenseConfig(codec=Dct(), bytes_per_class=bytes_).fit((3, 32, 32)) for bytes_ in (3_096, 30_960))
    assert few.codec == Dct().for_class((3, 32, 32), 3_096).fit((3, 32, 32))
    assert few.codec.step > 2 * many.codec.step and 3 * few.ipc < many.ipc
    assert few.fit((3, 32, 32)) == few
    assert CondenseConfig(codec=Dct()).fit((3, 32, 32)).codec == Dct().fit((3, 32, 32))


def test_few_bytes_of_each_image_leave_place_for_more():
    shape, rough = (3, 32, 32), Dct(1.6, most=30)
    assert rough.fit(shape).usual_nbytes(shape) == 30 < Dct(1.6).usual_nbytes(shape)
    assert CondenseConfig.preset("paper", codec=rough, bytes_per_class=90).fit(shape).ipc == 3
    assert CondensedMemory(mem_bytes=24 + 90, kind="random", codec=rough).lengths(2, shape) == [2, 1]


def test_the_learning_rate_falls_as_a_cosine():
    schedule = Schedule(CondenseConfig.preset("paper", lr_img=2.0, lr_final=0.1, tail_average=0.25, iterations=100))
    assert [schedule.lr(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([2.0, 1.1, 0.2])
    assert not schedule.averages(0.74) and schedule.averages(0.75)
    assert [schedule.progress(i) for i in (0, 50, 100)] == [0.0, 0.5, 1.0]
    plain = Schedule(CondenseConfig.preset("paper"))
    assert plain.lr(0.3) == 1.0 and not plain.averages(0.999)
