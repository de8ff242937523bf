"""A memory that begins with a condensed set: its images in the stream's values, and what comes later beside them."""

from dataclasses import replace

import pytest
import torch
from pools import smooth_pixels as pixels

from dm_replay import Budget, CondenseConfig, CondensedMemory, Dct, ImageSet, Random, TensorPool, condense
from dm_replay.replay.loader import ReplayLoader

QUICK = CondenseConfig.preset(
    "paper", iterations=2, batch_real=4, network="convnet:width=4", compile="no", device="cpu"
)
MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.25, 0.3]
STREAMS = {  # mean and std of a stream's normalization, and what a pixel of [0, 1] is in it
    "of its own": ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7]),
    "none": ([0.0] * 3, [1.0] * 3),
    "bytes": ([0.0] * 3, [1 / 255] * 3),
}


def made(**settings):
    """Four images of each of two classes, of pixels normalized by MEAN and STD."""
    return condense(TensorPool(*pixels({0: 9, 1: 9}), MEAN, STD), QUICK.but(ipc=4, **settings))


SETTINGS = {
    "floats": {},
    "bytes": {"storage": "uint8"},
    "mosaics": {"tiles": 2, "storage": "uint8"},
    "shrunk": {"resolution": 8, "storage": "uint8"},
    "sharp mosaics": {"tiles": 2, "enlarging": "sharp", "storage": "float16"},
}


def channels(values):
    return torch.tensor(values)[:, None, None]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("stream", STREAMS)
def test_its_images_are_in_the_streams_values(settings, stream):
    condensed, (mean, std) = made(**SETTINGS[settings]), STREAMS[stream]
    memory = CondensedMemory.from_set(condensed, 8, mean=mean, std=std, config=QUICK, task=2)
    assert list(memory.groups) == [(2, 0), (2, 1)] and memory.counts == {(2, 0): 9, (2, 1): 9}
    stored = condensed.with_storage("uint8")
    wanted = (stored.images * channels(STD) + channels(MEAN) - channels(mean)) / channels(std)
    torch.testing.assert_close(memory.to_set()[0].images, wanted, rtol=1e-4, atol=1e-4)
    own = memory.standardization.apply(wanted)
    torch.testing.assert_close(own, stored.images, rtol=1e-4, atol=1e-4)
    assert memory.groups[2, 0].meta["mean"] == mean and memory.groups[2, 1].meta["std"] == pytest.approx(std)


@pytest.mark.parametrize("settings", SETTINGS)
def test_without_a_normalization_the_streams_is_the_sets(settings):
    condensed = made(**SETTINGS[settings])
    memory = CondensedMemory.from_set(condensed, mem_bytes=condensed.nbytes + 200, config=CondenseConfig())
    stored = condensed.with_storage(memory.groups[0, 0].storage)
    count = len(memory.groups[0, 0])
    torch.testing.assert_close(memory.to_set()[0].images, stored.prefix(count).images)
    assert memory.nbytes <= condensed.nbytes + 200 and memory.groups[0, 0].meta["mean"] == pytest.approx(MEAN)


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_comes_later_lies_beside_it(settings):
    """New classes, an old one that returns, and a set that is made of the memory: all decode alike."""
    mean, std = STREAMS["of its own"]
    memory = CondensedMemory.from_set(made(**SETTINGS[settings]), 9, mean=mean, std=std, config=QUICK)
    later = TensorPool(*pixels({1: 5, 2: 9}, seed=1), mean, std)
    memory.update(later)
    assert memory.counts == {(0, 0): 9, (0, 1): 14, (0, 2): 9} and len(memory) == 9
    whole, tasks = memory.to_set()
    parts = torch.cat([part.images for part in memory.groups.values()])
    torch.testing.assert_close(whole.images, parts)
    assert abs(float(parts.mean()) - float(later.take(torch.arange(14)).mean())) < 0.5
    loader = ReplayLoader([(parts[:2], torch.zeros(2).long())], whole, tasks, 9)
    assert next(iter(loader))[0].shape == (11, 3, 16, 16)
    again = CondensedMemory.from_set(whole, 9, config=QUICK)
    torch.testing.assert_close(again.to_set()[0].images, whole.images)
    again.update(TensorPool(*pixels({3: 9}), mean, std))
    old = [again.groups[0, c].images for c in range(3)]
    kept = [part.prefix(len(again.groups[group])).images for group, part in memory.groups.items()]
    torch.testing.assert_close(again.to_set()[0].images[: sum(map(len, old))], torch.cat(kept))


def test_each_class_is_cut_to_its_share():
    condensed = made()
    memory = CondensedMemory.from_set(condensed, 5, config=QUICK)
    assert [len(part) for part in memory.groups.values()] == [3, 2]
    stored = condensed.with_storage("uint8")
    torch.testing.assert_close(memory.groups[0, 1].images, stored.of_class(1).prefix(2).images)
    assert len(CondensedMemory.from_set(condensed, 50, ipc=3, config=QUICK)) == 6


@pytest.mark.parametrize("size", [{"mem_size": 8}, {"mem_bytes": 500}])
def test_codes_are_those_of_the_set_and_later_ones_lie_beside_them(size):
    coded = Random().reduce(TensorPool(*pixels({0: 9, 1: 9}), MEAN, STD), Budget(4, Dct()), seed=0)
    memory = CondensedMemory.from_set(coded, **size, kind="random")
    assert memory.codec == coded.codec and len(memory) == 8
    memory.update(TensorPool(*pixels({2: 9}, seed=1), MEAN, STD))
    for label in (0, 1):
        part, whole = memory.groups[0, label], coded.of_class(label)
        assert len(part) > 0 and part.stored.codes == whole.stored.codes[: len(part)]
        torch.testing.assert_close(part.images, whole.images[: len(part)])
    assert len(memory.groups) == 3 and memory.nbytes <= size.get("mem_bytes", memory.nbytes)


def test_what_cannot_be_known_or_cannot_fit_is_one_line():
    condensed = made()
    unknown = replace(condensed, meta={})
    cases = {
        "does not say the mean and std that it was normalized by": lambda: CondensedMemory.from_set(
            unknown, 8, mean=[0.0] * 3, std=[1.0] * 3
        ),
        "values of mean, one for each channel, got 'none'": lambda: CondensedMemory.from_set(
            condensed, 8, mean="none", std=[1.0] * 3
        ),
        "values of mean, one for each channel, got 0.5": lambda: CondensedMemory.from_set(
            condensed, 8, mean=0.5, std=[1.0] * 3
        ),
        "std is missing": lambda: CondensedMemory.from_set(condensed, 8, mean=[0.0] * 3),
        "expected 3 values of mean, one for each channel": lambda: CondensedMemory.from_set(
            condensed, 8, mean=[0.0], std=[1.0] * 3
        ),
        "std must be above 0": lambda: CondensedMemory.from_set(condensed, 8, mean=[0.0] * 3, std=[1.0, 0.0, 1.0]),
        "cannot hold 2 classes": lambda: CondensedMemory.from_set(condensed, 1),
        "give mem_size or mem_bytes": lambda: CondensedMemory.from_set(condensed),
        "those of the memory by Dct": lambda: CondensedMemory.from_set(condensed, 8, codec=Dct()),
        "task must be a whole number of at least 0": lambda: CondensedMemory.from_set(condensed, 8, task=-1),
    }
    for message, case in cases.items():
        with pytest.raises(ValueError, match=message) as error:
            case()
        assert "\n" not in str(error.value)
    assert len(CondensedMemory.from_set(unknown, 8)) == 8


def test_a_file_of_a_run_does(tmp_path):
    made().save(tmp_path / "condensed.pt")
    memory = CondensedMemory.from_set(ImageSet.load(tmp_path / "condensed.pt"), 8, config=QUICK)
    memory.save(tmp_path / "memory.pt")
    assert CondensedMemory.load(tmp_path / "memory.pt").counts == {(0, 0): 9, (0, 1): 9}
