"""The memory budget: it bounds the images at a time and changes no result."""

import pytest
import torch

from dm_replay import PLAIN, CondenseConfig, SiameseAugment, condense
from dm_replay.data.classes import ClassShard
from dm_replay.matching.extractors import Extractor
from dm_replay.matching.losses import equal_parts
from dm_replay.matching.matcher import Matcher
from dm_replay.matching.real_batches import RealBatches
from dm_replay.matching.synthetic import SAMPLE, SyntheticPixels
from dm_replay.runtime.engine import Engine, choose

GIB = 2**30


def engine(budget, precision="float32", side=32):
    return choose("cpu", precision, "no", (side, side), 1, budget)


@pytest.mark.parametrize("side", [8, 32, 64, 224])
@pytest.mark.parametrize("budget", [1e-6, 0.001, 0.05, 4.0])
def test_activations_stay_within_the_budget(budget, side):
    chosen = engine(budget, side=side)
    image = 3 * 128 * side * side * 4
    assert chosen.chunk * image <= budget * GIB or chosen.chunk == 1
    assert chosen.gradient_chunk * 2 * image <= budget * GIB or chosen.gradient_chunk == 1
    assert chosen.chunk <= engine(None, side=side).chunk


def test_half_the_bytes_are_twice_the_images():
    assert engine(0.005, "bfloat16").chunk == pytest.approx(2 * engine(0.005).chunk, abs=1)
    assert engine(4.0).chunk == engine(None).chunk


@pytest.mark.parametrize(("groups", "rows", "chunk"), [(10, 3, 7), (10, 3, 1), (5, 2, 100), (1, 50, 20)])
def test_parts_are_equal_and_cover_the_groups(groups, rows, chunk):
    parts = equal_parts(groups, rows, chunk)
    assert sum((list(range(groups))[part] for part in parts), []) == list(range(groups))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) * rows <= max(chunk, rows) and len(set(lengths[:-1])) <= 1


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.3, 0.1, 1.0])], ids=["plain", "prefix_weight"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 6])
def test_gradients_by_parts_are_the_gradients(pool, norm, weights, chunk):
    def after(**bound):
        exact = Engine(torch.device("cpu"), torch.float64, False, 16, **bound)
        start = pool.draw(pool.classes, 3, torch.Generator().manual_seed(1))
        extractor = Extractor(f"convnet:width=8,norm={norm}", pool.shape, SiameseAugment(), exact)
        real = RealBatches(pool, ClassShard(pool.classes), 6, None, exact, whole=norm == "batch")
        nested = None if weights is None else weights.double()
        synthetic = SyntheticPixels(
            start.double(), codec=PLAIN, size=pool.shape[1:], momentum=0.5, batch=0, prefix_weight=nested
        )
        matcher = Matcher(real, extractor, synthetic, augment=SiameseAugment(), engine=exact, seed=4)
        return [matcher.step(0), matcher.step(1), matcher.pixels], matcher.parts

    (expected, whole), (got, parts) = after(), after(gradient_chunk=chunk)
    assert len(whole) == 1 and len(parts) == (1 if norm == "batch" else 2 if chunk == 6 else 3)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10)


def test_no_more_real_images_at_a_time_than_the_budget_allows(pool, monkeypatch):
    """Room for 13 images of 8x8: a class of 12 at a time."""
    taken, gather = [], pool.gather
    monkeypatch.setattr(pool, "gather", lambda indices: taken.append(indices.numel()) or gather(indices))
    budget = 13.5 * 3 * 8 * 64 * 4 / GIB
    config = CondenseConfig.preset(
        "paper",
        ipc=1, iterations=1, batch_real=12, init="noise", network="convnet:width=8", compile="no",
        device="cpu", precision="float32", memory_budget=budget,
    )  # fmt: skip
    condense(pool, config)
    looked, *others = taken
    assert looked == len(pool) <= SAMPLE and others == [12, 12, 12]


@pytest.mark.parametrize("budget", [0, -1.0, float("nan")])
def test_a_budget_is_something(budget):
    with pytest.raises(ValueError, match="memory_budget must be above 0 GiB, got"):
        CondenseConfig.preset("paper", memory_budget=budget)
