"""The GPU path against the CPU path: ``pytest --device cuda tests/test_gpu.py``; and what of it needs no GPU."""

import pytest
import torch
from sets import random_set

from dm_replay import PLAIN, CondenseConfig, EvalConfig, SiameseAugment, Tiles, condense
from dm_replay.data.classes import ClassShard
from dm_replay.evaluation.trainer import probe as training_probe
from dm_replay.matching import engine as matching_check
from dm_replay.matching.extractors import Extractor, TrainedNetworks, read_flat
from dm_replay.matching.matcher import Matcher
from dm_replay.matching.real_batches import RealBatches
from dm_replay.matching.synthetic import SyntheticPixels
from dm_replay.runtime import self_check
from dm_replay.runtime.acceleration import cuda_graphed
from dm_replay.runtime.engine import Engine, choose, resolve_device
from dm_replay.runtime.seeding import new_generator

CPU = torch.device("cpu")


@pytest.fixture
def cuda(device):
    if device == "cpu" or not torch.cuda.is_available():
        pytest.skip("no GPU asked for: --device cuda")
    return resolve_device(device)


def matcher(pool, where, dtype=torch.float32, draws=CPU, network="convnet:width=16", compiled=False):
    engine = Engine(where, dtype, compiled, chunk=16, draws=draws)
    start = pool.draw(pool.classes, 3, torch.Generator().manual_seed(1))
    placed, augment = pool.resident(pool.classes, where), SiameseAugment()
    extractor = Extractor(network, pool.shape, augment, engine)
    real = RealBatches(placed, ClassShard(pool.classes), 6, None, engine, whole=extractor.batch_statistics)
    start, nested = (value.to(where, extractor.master) for value in (start, torch.tensor([0.1, 0.1, 1.0])))
    synthetic = SyntheticPixels(start, codec=PLAIN, size=pool.shape[1:], momentum=0.5, batch=0, prefix_weight=nested)
    return Matcher(real, extractor, synthetic, augment=augment, engine=engine, seed=4)


@pytest.mark.parametrize("network", ["convnet:width=16", "convnet:width=16,norm=batch"])
def test_the_gpu_gives_the_cpus_numbers(pool, cuda, network):
    """With numbers drawn on the CPU for both: losses and pixels of six steps, but for the rounding of TF32."""
    here, there = matcher(pool, CPU, network=network), matcher(pool, cuda, network=network)
    for iteration in range(6):
        assert float(there.step(iteration)) == pytest.approx(float(here.step(iteration)), rel=2e-2)
    moved = (here.pixels - pool.draw(pool.classes, 3, torch.Generator().manual_seed(1))).norm()
    assert (there.pixels.cpu() - here.pixels).norm() < 0.02 * moved


def test_a_captured_step_equals_a_plain_one(pool, cuda, monkeypatch):
    graph = matcher(pool, cuda, draws=None)
    losses = [float(graph.step(i)) for i in range(6)]
    monkeypatch.setattr("dm_replay.matching.matcher.cuda_graphed", lambda function, device, generators: function)
    plain = matcher(pool, cuda, draws=None)
    assert losses == pytest.approx([float(plain.step(i)) for i in range(6)], rel=1e-4)
    torch.testing.assert_close(graph.pixels, plain.pixels, rtol=1e-4, atol=1e-4)


def test_same_seed_same_pixels_on_the_gpu(pool, cuda):
    config = CondenseConfig.preset("paper", ipc=2, iterations=8, batch_real=8, device=str(cuda))
    states = []
    one = condense(pool, config, seed=1, on_step=lambda p: states.append(p.state))
    assert torch.equal(one.images, condense(pool, config, seed=1).images)
    assert torch.equal(one.images, condense(pool, config, seed=1, state=states[3]).images)


def test_bfloat16_on_the_gpu_is_within_noise(pool, cuda):
    exact, low = matcher(pool, CPU), matcher(pool, cuda, torch.bfloat16)
    exact.step(0), low.step(0)
    params = exact.augment.sample(3, (8, 8), new_generator(4, "augment", 0))
    same, other = (exact.real.draw(new_generator(4, "draw", i)) for i in (0, 1))
    reference = exact.targets(exact.real.blocks_of_rows(same), params)
    error = (low.targets(low.real.blocks_of_rows(same.to(cuda)), params.to(cuda)).cpu() - reference).norm()
    assert 0 < error < 0.1 * (exact.targets(exact.real.blocks_of_rows(other), params) - reference).norm()


@pytest.mark.parametrize("network", ["convnet:width=16", "convnet:width=16,norm=batch"])
def test_the_self_check_finds_no_fault_here(pool, cuda, network):
    """Graph, bfloat16 and the device's own numbers, of both kinds of work."""
    engine = choose(str(cuda), "auto", "no", (8, 8), 1)
    config = CondenseConfig.preset("paper", network=network, lr_img=0.1)
    few = random_set(pool, 4)
    labels = torch.searchsorted(few.classes, few.labels)
    for probe in (
        lambda engine: matching_check.probe(engine, pool, config),
        lambda engine: training_probe(engine, network, few.images, labels, 3, EvalConfig()),
    ):
        assert self_check.compare(engine, probe)[1] is None


def test_capturing_on_the_cpu_is_the_function_itself():
    calls = []
    function = cuda_graphed(lambda: calls.append(1), CPU)
    assert calls == []
    function()
    assert calls == [1]


def test_a_pool_that_holds_only_some_classes_draws_like_the_whole(pool):
    part = pool.resident([5], "cpu")
    assert len(part.images) == 12 and len(part) == len(pool)
    for shard in (slice(1, 2), slice(None)):
        draws = [
            p.rows_of(ClassShard(p.classes, shard)).draw(6, torch.Generator().manual_seed(3)) for p in (part, pool)
        ]
        assert torch.equal(*draws)
    indices = part.rows_of(ClassShard(part.classes, slice(1, 2))).draw(6, torch.Generator().manual_seed(3))
    assert torch.equal(part.take(indices), pool.take(indices))
    for absent in (torch.tensor([0]), torch.arange(len(pool))):
        with pytest.raises(ValueError, match="pixels of some of these images were left behind"):
            part.take(absent)


def fast_matcher(pool):
    """All that the preset "fast" adds: mosaics, parts of them, trained networks and their classes."""
    engine, augment = Engine(CPU, torch.float32, False, chunk=16), SiameseAugment()
    codec = Tiles(tiles=2).fit(pool.shape)
    extractor = Extractor("convnet:width=16", pool.shape, augment, engine, len(pool.classes), True, "moments")
    real = RealBatches(pool, ClassShard(pool.classes), 6, None, engine)
    start = torch.randn(3, 4, *codec.value_shape(pool.shape))
    synthetic = SyntheticPixels(
        start,
        codec=codec,
        size=pool.shape[1:],
        momentum=0.5,
        batch=5,
        prefix_weight=torch.tensor([0.1, 0.1, 0.1, 1]),
    )
    trained = TrainedNetworks(*torch.randn(2, 2, len(read_flat(extractor.network))))
    how = {"inner_steps": 2, "trained": trained, "class_weight": 10.0}
    return Matcher(real, extractor, synthetic, augment=augment, engine=engine, seed=4, **how)


@pytest.mark.parametrize("made", [lambda pool: matcher(pool, CPU, draws=None), fast_matcher], ids=["paper", "fast"])
def test_nothing_in_a_step_waits_for_the_host(pool, made):
    """A step reads no tensor's value and makes no tensor from host data, either of which would break a CUDA graph."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoHost(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.overloadpacket.__name__
            assert name not in ("_local_scalar_dense", "nonzero", "lift_fresh", "masked_select"), name
            return function(*args, **(kwargs or {}))

    running = made(pool)
    running.step(0)
    with NoHost():
        running.step(1)
