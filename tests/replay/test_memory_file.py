"""A memory in a file: all of it comes back and goes on alike; what is damaged or crafted is refused in one line."""

import os
import random
from dataclasses import fields, is_dataclass

import pytest
import torch
from damage import changed, places
from pools import smooth

from dm_replay import CondensedMemory, Dct, Herding, ImageSet, Mixed, Random
from dm_replay.data.pool import TensorPool
from dm_replay.matching.config import CondenseConfig
from dm_replay.runtime.files import load_sealed, save_sealed

QUICK = CondenseConfig.preset(
    "paper", iterations=2, batch_real=4, network="convnet:width=4", compile="no", device="cpu"
)
SMALL = QUICK.but(tiles=2, enlarging="sharp", storage="uint8")


def pool(counts, seed=0):
    """Smooth pictures (3, 16, 16), normalized."""
    images, labels = smooth(counts, seed)
    return TensorPool((images - 0.4) / 0.3, labels, mean=[0.4] * 3, std=[0.3] * 3)


MEMORIES = {
    "images": lambda: CondensedMemory(6, config=QUICK, seed=5),
    "a fixed number for each class": lambda: CondensedMemory(9, ipc=2, config=QUICK),
    "bytes": lambda: CondensedMemory(mem_bytes=4000, config=SMALL),
    "images that were shrunk": lambda: CondensedMemory(6, config=QUICK.but(resolution=8)),
    "centers of clusters": lambda: CondensedMemory(6, config=QUICK, kind="kmeans"),
    "a reducer and a codec": lambda: CondensedMemory(
        6, kind=Mixed(Herding("convnet:width=4"), Random()), codec=Dct(most=200)
    ),
    "real images": lambda: CondensedMemory(6, config=QUICK, kind="herding"),
    "real ones beside condensed ones": lambda: CondensedMemory(8, config=QUICK, real_fraction=0.5),
    "codes": lambda: CondensedMemory(6, config=QUICK, kind="herding", codec=Dct()),
    "bytes of codes": lambda: CondensedMemory(mem_bytes=1500, kind="random"),
}


def filled(name):
    memory = MEMORIES[name]()
    memory.update({0: pool({0: 9}), 1: pool({3: 9})})
    memory.update({0: pool({0: 4, 7: 9}, seed=1)})
    memory.add({0: pool({0: 2, 7: 1}, seed=2)})
    assert memory.waiting
    return memory


def equal(one, other):
    """Whether two values are the same through and through."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if is_dataclass(one):
        return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[name], other[name]) for name in one)
    return one == other


@pytest.mark.parametrize("name", MEMORIES)
def test_all_that_a_memory_is_comes_back_and_goes_on_alike(tmp_path, name):
    memory = filled(name)
    memory.save(tmp_path / "memory.pt")
    back = CondensedMemory.load(tmp_path / "memory.pt")
    assert len(memory) and equal(vars(memory), vars(back)) and back.nbytes == memory.nbytes
    for each in (memory, back):
        each.update({1: pool({3: 3, 8: 9}, seed=2)})
    assert equal(vars(memory), vars(back))


def test_an_empty_one_too(tmp_path):
    for name, make in MEMORIES.items():
        make().save(tmp_path / "memory.pt")
        assert equal(vars(CondensedMemory.load(tmp_path / "memory.pt")), vars(make())), name


def refused(path, message=""):
    with pytest.raises(ValueError, match=message) as caught:
        CondensedMemory.load(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_any_flipped_bit_and_any_cut_is_found(tmp_path):
    filled("images").save(tmp_path / "memory.pt")
    whole, chance = (tmp_path / "memory.pt").read_bytes(), random.Random(0)
    for _ in range(100):
        changed = bytearray(whole)
        changed[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (tmp_path / "bad.pt").write_bytes(changed)
        refused(tmp_path / "bad.pt")
        (tmp_path / "bad.pt").write_bytes(whole[: chance.randrange(len(whole))])
        refused(tmp_path / "bad.pt")
    refused(tmp_path / "none.pt", "no such file")


NUMBERS = torch.zeros(0), torch.full((2, 3), torch.nan), torch.zeros(5, dtype=torch.int64)
JUNK = [None, "x", -1, 0, 3.5, True, [], {}, *NUMBERS]


@pytest.mark.parametrize("name", ["images", "bytes", "codes", "bytes of codes"])
def test_crafted_files_are_one_line_or_a_memory(tmp_path, name):
    filled(name).save(tmp_path / "memory.pt")
    content, path, taken = load_sealed(tmp_path / "memory.pt"), tmp_path / "bad.pt", 0
    where = [place for place in places(content) if "meta" not in place or place[-1] == "meta"]
    for number, place in enumerate(where):
        for junk in JUNK[number % 5 :: 5]:
            save_sealed(changed(content, place, junk), path) if place else save_sealed(junk, path)
            try:
                memory = CondensedMemory.load(path)
            except ValueError as error:
                assert "\n" not in str(error) and str(path) in str(error), place
            else:
                taken += 1
                assert all(part.images.isfinite().all() for part in memory.groups.values()), place
    assert taken < len(where)


def test_what_does_not_fit_together_is_refused(tmp_path):
    memory = filled("images")
    memory.mem_size = 3
    memory.save(tmp_path / "memory.pt")
    refused(tmp_path / "memory.pt", "damaged memory: it holds 6 images of .* bytes, more than its size")
    memory = filled("images")
    memory.codec = memory.codec.but(storage="float16")
    memory.save(tmp_path / "memory.pt")
    refused(tmp_path / "memory.pt", "stored otherwise, than its settings say")
    memory = filled("codes")
    memory.held[0, 0] = filled("images").held[0, 0]
    memory.save(tmp_path / "memory.pt")
    refused(tmp_path / "memory.pt", "sets of different codec or shape")


def test_other_files_are_none(tmp_path):
    ImageSet.from_images(torch.rand(2, 1, 8, 8), torch.zeros(2)).save(tmp_path / "set.pt")
    refused(tmp_path / "set.pt", "set.pt is not a memory of CondensedMemory.save")
    CondensedMemory(6).save(tmp_path / "memory.pt")
    with pytest.raises(ValueError, match="memory.pt is no image set, or damaged: its format is"):
        ImageSet.load(tmp_path / "memory.pt")


class Evil:
    def __reduce__(self):
        return pytest.fail, ("code was run",)


def test_no_code_is_run(tmp_path):
    filled("images").save(tmp_path / "memory.pt")
    save_sealed({**load_sealed(tmp_path / "memory.pt"), "seed": Evil()}, tmp_path / "evil.pt")
    refused(tmp_path / "evil.pt")


def test_what_goes_wrong_leaves_the_old_one(tmp_path, monkeypatch):
    CondensedMemory(6).save(tmp_path / "memory.pt")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        CondensedMemory(7).save(tmp_path / "memory.pt")
    assert CondensedMemory.load(tmp_path / "memory.pt").mem_size == 6 and len(list(tmp_path.iterdir())) == 1
