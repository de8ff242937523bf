"""Reading an experience: once, in its own type, through its own collate function."""

import warnings

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from streams import QUICK, Blobs, plain
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import default_collate
from torchvision.transforms import ToPILImage
from torchvision.transforms.functional import to_tensor

from dm_replay.plugins.experience import inspect, read
from dm_replay.plugins.storage_policy import CondensedBuffer
from dm_replay.replay import standardize


def experience(data, collate_fn=None):
    if collate_fn is not None:
        data.collate_fn = collate_fn
    return benchmark_from_datasets(train=[as_classification_dataset(data)]).train_stream[0]


class LargeAllocations(TorchDispatchMode):
    """Sizes in bytes of all new storages of at least ``least``."""

    def __init__(self, least):
        super().__init__()
        self.least, self.sizes = least, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {leaf.data_ptr() for leaf in self._storages((args, kwargs))}
        new = (leaf for leaf in self._storages(out) if leaf.data_ptr() not in given)
        self.sizes += [leaf.nbytes() for leaf in new if leaf.nbytes() >= self.least]
        return out

    @staticmethod
    def _storages(tree):
        return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


class Wide(Blobs):
    """Six classes of 400 images, beside which all that is done to some of them is small."""

    def __init__(self, transform=None):
        super().__init__(transform, each=400)


@pytest.mark.parametrize(
    ("transform", "values"),
    [(None, 4), (lambda x: x.double(), 4), (lambda x: (x * 100).byte(), 1)],
    ids=["float32", "float64", "bytes"],
)
@pytest.mark.parametrize("kind", ["condensed", "herding"])
@pytest.mark.parametrize("tasks", [1, 2])
def test_an_experience_lies_in_memory_once(transform, values, kind, tasks, monkeypatch):
    monkeypatch.setattr(standardize, "CHUNK", 16)
    monkeypatch.setattr("dm_replay.coresets.real.CHUNK", 16)
    data = Wide(transform)
    size, wide = len(data) * 64 * values, experience(data)
    with LargeAllocations(size // 2) as seen:
        real = read(wide.dataset)
    assert sum(seen.sizes) == size == real.images.nbytes
    real = real._replace(tasks=torch.arange(len(data)) % tasks)
    memory = CondensedBuffer(6 * tasks, kind=kind, **QUICK).memory
    with LargeAllocations(size // 2) as seen:
        memory.update(real.pools())
    assert not seen.sizes


def test_bytes_stay_bytes_and_other_integers_become_floats():
    for dtype, kept in ((torch.uint8, torch.uint8), (torch.int32, torch.float32), (torch.float16, torch.float32)):
        real = read(plain(lambda x, dtype=dtype: (x * 100).to(dtype)).train_stream[0].dataset)
        assert real.images.dtype == kept and real.form.pixel == dtype
        (pool,) = real.pools().values()
        values = pool.take(torch.arange(len(pool)))
        torch.testing.assert_close(values, real.images.float(), msg="the values are the user's")


def test_what_is_read_is_what_the_dataset_gives():
    dataset = experience(Blobs()).dataset
    real = read(dataset)
    assert torch.equal(real.images, torch.stack([dataset[row][0] for row in range(len(dataset))]))
    assert real.labels.tolist() == list(dataset.targets) and real.groups == {(0, c) for c in range(6)}


def halved(items):
    images, *rest = default_collate(items)
    return [images / 2, *rest]


def from_pil(items):
    return default_collate([(to_tensor(image), y) for image, y in items])


@pytest.mark.parametrize(("transform", "collate"), [(None, halved), (ToPILImage(), from_pil)])
def test_a_collate_function_that_makes_the_images_is_no_chance(transform, collate):
    given = experience(Blobs(transform), collate_fn=collate)
    buffer = CondensedBuffer(6, **{**QUICK, "lr_img": 1e-9})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        buffer.prepare(given)
        buffer.post_adapt(None, given)
    real = read(given.dataset)
    assert torch.equal(real.images[:16], collate([given.dataset[row] for row in range(16)])[0])
    near = torch.cdist(torch.stack([x for x, _ in buffer.buffer]).flatten(1), real.images.flatten(1), p=torch.inf)
    assert near.amin(1).max() < 0.01


def test_a_collate_function_that_draws_is_pointed_out():
    def noisy(items):
        images, *rest = default_collate(items)
        return [images + torch.rand_like(images), *rest]

    with pytest.warns(UserWarning, match="differ each time they are read"):
        CondensedBuffer(6, **QUICK).post_adapt(None, experience(Blobs(), collate_fn=noisy))


def relabelled(change):
    class Relabelled(Blobs):
        def __getitem__(self, index):
            image, label = super().__getitem__(index)
            return change(image, label)

    return experience(Relabelled()).dataset


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x, y: (x.flatten(), y), r"expected images \(C, H, W\), got \(64,\) for each x"),
        (lambda x, y: (x[0], y), r"got \(8, 8\) for each x"),
        (lambda x, y: (ToPILImage()(x), y), "got Image: give the benchmark an eval_transform that ends in a tensor"),
        (lambda x, y: (x, torch.tensor([y, y])), r"expected one label for each image, got \(2,\)"),
        (lambda x, y: (x, y + 0.5), "expected labels that are whole numbers, got torch.float64"),
        (lambda x, y: (x, y, 0, 0), r"expected items \(x, y\) or \(x, y, task label\), got 4 parts"),
        (lambda x, y: ({"image": x}, y), "expected each x to be an image as a tensor, got dict"),
    ],
)
def test_what_cannot_be_condensed_is_refused_in_a_line(change, match):
    for look in (inspect, read):
        with pytest.raises(ValueError, match=match):
            look(relabelled(change))
