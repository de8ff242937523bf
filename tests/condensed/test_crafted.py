"""Files of image sets that somebody crafted: a set like any other, or one line."""

import os
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import at, changed, places, without
from sets import of_values

from dm_replay import PLAIN, Dct, ImageSet, Tiles
from dm_replay.condensed.export import grid, to_npz
from dm_replay.condensed.set_file import FIELDS, FORMAT, fields_of
from dm_replay.runtime.files import save_sealed

KINDS = {  # codec, shape of five images
    "float32": (PLAIN, (1, 4, 4)),
    "uint8": (PLAIN.but(storage="uint8"), (2, 4, 4)),
    "mosaics": (Tiles(2, "sharp", storage="uint8"), (1, 8, 8)),
    "float16": (Tiles(1, "linear", storage="float16"), (3, 8, 8)),
    "shrunk": (Tiles(1, resolution=4), (1, 8, 8)),
    "coded": (Dct(1.0, most=120), (3, 16, 16)),
}
META = {"mean": [0.5], "std": [0.2], "names": ["ant", "bee"], "dataset": "digits"}


class Dangerous:
    def __reduce__(self):
        return (print, ("code ran while loading",))


def itself():
    """A list that is its own element."""
    endless = []
    endless.append(endless)
    return endless


VALUES = [
    *(None, True, False, 0, 1, -1, 2, 3, 5, 8, 2**31, 2**63, -(2**63), 10**400, 0.0, 0.5, -0.0),
    *(float("nan"), float("inf"), 1e308, 1j, "", "a", "linear", "sharp", "\n", "\ud800", "x" * 10_000, b"", b"1"),
    *([], [1], [0.5], ["a"], [None], (), (1, 2), (0.5,), {}, {"a": 1}, {1: 2}, {None: []}, [[1], [2]], set(), {1}),
    *(itself(), [float("nan")], [10**400], [True], ["\n"], torch.float32, torch.Size([1, 2]), torch.device("meta")),
    *(np.float64(0.5), np.float32("nan"), np.int64(3)),
]
SHAPES = [(), (0,), (1,), (5,), (5, 1), (5, 2), (2, 1), (2, 3), (5, 1, 4, 4), (5, 1, 0, 4), (0, 1, 4, 4), (5, 0, 4, 4)]
DTYPES = [torch.float32, torch.float16, torch.float64, torch.bfloat16, torch.uint8, torch.int64, torch.bool]
FILLS = [0, 1, 255, -1, 3e38, float("nan"), float("inf")]


def tensors():
    for shape in SHAPES:
        for dtype in (*DTYPES, torch.complex64, torch.int8):
            yield torch.ones(shape, dtype=dtype)
    for fill in FILLS:
        for dtype in (torch.float32, torch.float16):
            yield from (torch.full(shape, fill).to(dtype) for shape in ((5, 1), (5, 2), (2, 1), (5, 1, 4, 4)))
    yield torch.ones(1).expand(10**6, 3, 10**4, 10**4)
    yield torch.ones(1, dtype=torch.int64).expand(10**12)
    yield torch.nn.Parameter(torch.ones(5, 1, 4, 4))
    yield torch.ones(5, 1, 4, 4, requires_grad=True)
    yield torch.imag(torch.ones(5, 1, 4, 4, dtype=torch.complex64).conj())
    yield torch.ones(5, 1, 4, 4).to_sparse()
    yield torch.quantize_per_tensor(torch.ones(5, 1, 4, 4), 0.1, 0, torch.quint8)
    yield torch.empty(5, 1, 4, 4, device="meta")
    yield torch.tensor([0, 2**62, 2**62, -(2**63), 2**63 - 1])
    yield torch.tensor([2**62, 2**62, 2**63 - 1, 2**63 - 1, 0])


@pytest.fixture(params=KINDS)
def content(request):
    """The entries of a set's file."""
    codec, shape = KINDS[request.param]
    values = torch.randn(5, *codec.fit(shape).value_shape(shape), generator=torch.Generator().manual_seed(0))
    meta = {**META, "mean": [0.5] * shape[0], "std": [0.2] * shape[0]}
    return {"format": FORMAT, **fields_of(of_values(values, [0, 0, 1, 1, 1], codec, shape, meta=meta))}


def entries(content):
    """The places of all that is not in the metadata."""
    return [place for place in places(content) if place and (place[0] != "meta" or place == ("meta",))]


@pytest.fixture
def examined(tmp_path, capsys, monkeypatch):
    """``examined(content)`` writes and reads it; what is read is used as any set, what is refused is so in one line."""
    path = tmp_path / "set.pt"
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # of thousands of files

    def read(content):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path.unlink(missing_ok=True)  # a file in its place would be flushed to the disk
            save_sealed(content, path)
            try:
                stored = ImageSet.load(path)
            except ValueError as error:
                assert str(error).startswith(str(path)) and "\n" not in str(error) and len(str(error)) < 500
                return False
            _use(stored, tmp_path)
        return True

    yield read
    assert "code ran" not in capsys.readouterr().out


def _use(stored: ImageSet, folder: Path) -> None:
    assert stored.images.isfinite().all() and stored.images.shape == (stored.decoded, *stored.shape)
    assert len(stored.counts) == len(stored.classes) and stored.nbytes > 0
    again = ImageSet.merge([stored.prefix(1), stored.of_class(int(stored.labels[0]))])
    assert again.as_stored().images.shape[0] == len(again)
    assert grid(stored).width > 0
    to_npz(stored, folder / "images.npz")


def test_it_is_read_as_it_is(content, examined):
    assert examined(content)


def test_any_value_in_any_entry(content, examined):
    for place in entries(content):
        values = random.Random(str(place)).sample([*VALUES, *tensors()], 50)
        read = [examined(changed(content, place, value)) for value in (*values, Dangerous())]
        assert not all(read), f"nothing was refused in {place}"


@pytest.mark.parametrize("name", [*META, "seed"])
def test_any_value_in_the_metadata(content, examined, name):
    values = random.Random(name).sample([*VALUES, torch.ones(1), torch.ones(3), [torch.ones(2)]], 40)
    for value in (*values, Dangerous()):
        examined({**content, "meta": {**content["meta"], name: value}})


def test_several_entries_at_once(content, examined):
    draw, values = random.Random(0), [*VALUES, *tensors()]
    for _ in range(200):
        damaged = content
        for name in draw.sample([*FIELDS, "other"], draw.randint(2, 4)):
            inner = content.get(name) if isinstance(content.get(name), dict) else {}
            place = draw.choice([(name,), *((name, part) for part in inner)])
            damaged = changed(damaged, place, draw.choice(values))
        examined(damaged)


def test_entries_that_are_missing(content, examined):
    for place in entries(content):
        if not isinstance(at(content, place[:-1]), tuple):
            assert not examined(without(content, place)), place


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_values_that_are_not_finite_or_too_large(content, examined, value):
    content["affine"] = torch.ones(2, content["shape"][0])
    for place in (("affine",), *(("stored", name) for name in content["stored"])):
        for row in (0, -1):
            damaged = at(content, place).clone()
            if damaged.is_floating_point():
                damaged[row, -1] = value
                assert not examined(changed(content, place, damaged)) or abs(value) < float("inf")


@pytest.mark.parametrize("data", [*VALUES, [[torch.ones(2, 1, 4, 4), None]], [Dangerous()]], ids=lambda v: str(v)[:20])
def test_files_of_the_official_code(examined, data):
    assert not examined({"data": data})


def test_tensors_in_files_of_the_official_code(examined):
    for images in tensors():
        for labels in (torch.tensor([0, 0, 1, 1, 1]), torch.ones(5), images):
            examined({"data": [[images, labels]]})
