"""Files of condensed sets that somebody crafted: a set like any other, or one line."""

import os
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from dm_replay.condensed.reading import FIELDS, FORMAT

from dm_replay.condensed.export import grid, to_npz
from dm_replay.condensed.image_set import ImageSet
from dm_replay.runtime.files import save_sealed

KINDS = {  # what from_images is told, and the shape of the images
    "float32": ({"storage": "float32"}, (5, 1, 4, 4)),
    "uint8": ({"storage": "uint8"}, (5, 2, 4, 4)),
    "uint4": ({"storage": "uint4", "tiles": 2, "enlarging": "sharp"}, (5, 1, 8, 8)),
    "color": ({"storage": "float16", "color": 2}, (5, 1, 12, 8)),
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


PLAIN = [
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
    options, shape = KINDS[request.param]
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    channels = 3 if options.get("color") else shape[1]
    meta = {**META, "mean": [0.5] * channels, "std": [0.2] * channels}
    stored = ImageSet.from_images(images, torch.tensor([0, 0, 1, 1, 1]), meta=meta, **options)
    return {"format": FORMAT, **{name: getattr(stored, name) for name in FIELDS}}


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
    again = ImageSet.merge([stored.prefix(1), stored.of_class(int(stored.labels[0]))]).with_storage("float32")
    assert again.as_stored().images.shape[0] == len(again)
    assert grid(stored).width > 0
    to_npz(stored, folder / "images.npz")


def test_it_is_read_as_it_is(content, examined):
    assert examined(content)


@pytest.mark.parametrize("name", ["format", *FIELDS])
def test_any_value_in_any_entry(content, examined, name):
    values = random.Random(name).sample([*PLAIN, *tensors()], 100)
    read = [examined({**content, name: value}) for value in (*values, Dangerous())]
    assert not all(read), "nothing was refused"


@pytest.mark.parametrize("name", [*META, "seed"])
def test_any_value_in_the_metadata(content, examined, name):
    values = random.Random(name).sample([*PLAIN, torch.ones(1), torch.ones(3), [torch.ones(2)]], 40)
    for value in (*values, Dangerous()):
        examined({**content, "meta": {**content["meta"], name: value}})


def test_several_entries_at_once(content, examined):
    draw, values = random.Random(0), [*PLAIN, *tensors()]
    for _ in range(200):
        names = draw.sample([*FIELDS, "other"], draw.randint(2, 4))
        examined({**content, **{name: draw.choice(values) for name in names}})


def test_entries_that_are_missing(content, examined):
    for name in content:
        read = examined({other: value for other, value in content.items() if other != name})
        assert read == (content[name] is None), name


@pytest.mark.parametrize("name", ["scale", "offset", "affine"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_values_that_are_not_finite_or_too_large(content, examined, name, value):
    if name == "affine":
        content["affine"] = torch.ones(2, 3 if content["color"] > 1 else content["pixels"].shape[1])
    if content[name] is None:
        pytest.skip("floats have none")
    damaged = content[name].clone()
    damaged[-1, -1] = value
    assert not examined({**content, name: damaged}) or abs(value) < float("inf")


@pytest.mark.parametrize("data", [*PLAIN, [[torch.ones(2, 1, 4, 4), None]], [Dangerous()]], ids=lambda v: str(v)[:20])
def test_files_of_the_official_code(examined, data):
    assert not examined({"data": data})


def test_tensors_in_files_of_the_official_code(examined):
    for images in tensors():
        for labels in (torch.tensor([0, 0, 1, 1, 1]), torch.ones(5), images):
            examined({"data": [[images, labels]]})
