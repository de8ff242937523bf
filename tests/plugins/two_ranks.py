"""What each of two processes does in tests/plugins/test_several_processes.py: ``two_ranks.py FOLDER``.

Every case first runs alone, before there is a process group, and then with the other; what came of it goes to
``FOLDER/<rank>.pt``.
"""

import contextlib
import os
import sys

import torch
import torch.distributed as dist
from avalanche.benchmarks import split_online_stream
from avalanche.distributed import DistributedHelper
from streams import CLASSES, QUICK, Spy, blurry, labelled, plain, strategy
from torch import nn

from dm_replay import CondensedBuffer, CondensedMemory, Dct, DMReplayPlugin, TensorPool
from dm_replay.coresets.real import Herding
from dm_replay.matching import condense, prepared, trained_networks
from dm_replay.plugins import storage_policy
from dm_replay.runtime.distributed import Peers, RankLost

# One image at a time and one class at a time, whoever makes it, so that each sum is the same.
EXACT = QUICK | {"memory_budget": 1e-9}
TRAINED = EXACT | {"preset": "fast", "extractors": 3, "extractor_steps": 2, "iterations": 3, "prefix_weight": 0.05}
BATCH_NORM = {"network": "convnet:width=4,norm=batch"}
CASES = {
    "condensed": (plain, EXACT),
    "trained extractors": (plain, TRAINED),
    "mixed": (plain, TRAINED | {"real_fraction": 0.5}),
    "classes that return": (blurry, TRAINED),
    "tasks": (lambda: labelled(task_labels=True, class_ids_from_zero_in_each_exp=True), EXACT),
    "BatchNorm": (plain, TRAINED | BATCH_NORM),
    "BatchNorm, smaller": (plain, TRAINED | {"network": "convnet:width=4,depth=2,norm=batch", "resolution": 4}),
    "random": (plain, EXACT | {"kind": "random"}),
    "herding": (plain, EXACT | {"kind": "herding"}),
}
BY_THE_CLOCK = {
    "seconds": (plain, TRAINED | {"seconds": 0.2}),
    "seconds, BatchNorm": (plain, TRAINED | BATCH_NORM | {"seconds": 0.2}),
}


def main(folder):
    trained_networks.BATCH = 4  # images, since they are taken one by one
    own = {name: {"alone": trained(*case)["memory"]} for name, case in CASES.items()}
    own["pools"] = {"alone": of_pools(Peers())}
    DistributedHelper.init_distributed(0, use_cuda=False)
    rank = DistributedHelper.rank
    for name, case in (CASES | BY_THE_CLOCK).items():
        own.setdefault(name, {}).update(trained(*case))
    own["strategy"] = trained(plain, TRAINED | {"extractors": "strategy"}, with_batch_norm())
    own["online"] = trained(lambda: online(plain(), access_task_boundaries=True), EXACT)
    own["online, no boundaries"] = trained(lambda: online(plain()), EXACT)
    for name, benchmark in (("differ", differing), ("differ, no boundaries", lambda: online(differing()))):
        own[f"images that {name}"] = trained(benchmark, EXACT)
    own["filled"] = trained(plain, EXACT, old=plain().train_stream[2].dataset)
    own["pools"]["memory"] = of_pools(Peers.of_job())
    own["work"] = {name: work(CASES[name][1]) for name in ("trained extractors", "BatchNorm", "herding")}
    own["failures"] = {name: failed(what, rank) for name, what in FAILURES.items()}
    own["after failures"] = trained(*CASES["condensed"])
    torch.save(own, os.path.join(folder, f"{rank}.pt"))
    dist.barrier()
    own["lost"] = lost(rank)
    torch.save(own, os.path.join(folder, f"{rank}.pt"))


def trained(benchmark, settings, model=None, old=None):
    """The memory, weights and mini-batches after a stream of three experiences; 13 images divide unevenly."""
    model = model or nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    model = DistributedHelper.wrap_model(model)
    plugin, spy = DMReplayPlugin(13, batch_size_mem=4, progress=False, **settings), Spy()
    learner = strategy(plugin, spy, model=model)
    if old is not None:
        plugin.fill(old)
    stream = benchmark()
    for experience in getattr(stream, "train_stream", stream):
        learner.train(experience)
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    return {"memory": memory_of(plugin.storage_policy.memory), "weights": weights, "batches": spy.batches}


def with_batch_norm():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, CLASSES))


def online(benchmark, access_task_boundaries=False):
    return split_online_stream(benchmark.train_stream, 7, access_task_boundaries=access_task_boundaries)


def differing():
    """Each process reads other images, as with random transforms inside a dataset."""
    return plain(lambda image: image + DistributedHelper.rank / 100)


def of_pools(peers):
    """Updates of tasks with as many jobs as shares, of one class each among them, and of codes."""
    images = torch.rand(40, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    pool = TensorPool(images, torch.arange(40) % 5)
    found = {}
    settings = {"iterations": 2, "batch_real": 4, "network": "convnet:width=4,depth=2", "memory_budget": 1e-9}
    sizes = {"condensed": {"mem_size": 9}, "herding": {"mem_bytes": 800, "codec": Dct()}}
    for kind, size in sizes.items():
        memory = CondensedMemory(config=condense.CondenseConfig.preset("paper", **settings), kind=kind, **size)
        memory.update({0: pool.subset([0]), 3: pool.subset([1, 2, 3])}, peers=peers)
        memory.update(pool.subset([4]), peers=peers)
        found[kind] = memory_of(memory)
    return found


def work(settings):
    """What this process makes of two experiences: labels of condensed images, or the number of classes herded, and how
    many networks it trains."""
    made, trained = [], []
    with (
        spied(condense.Condenser, "condense", lambda found: made.append(found.labels.tolist())),
        spied(Herding, "reduce", lambda found: made.append(len(found.classes))),
        spied(trained_networks._Trainer, "run", trained.append),
    ):
        buffer = CondensedBuffer(13, progress=False, **settings)
        for experience in plain().train_stream[:2]:
            buffer.post_adapt(None, experience)
    return {"made": made, "trained": len(trained)}


@contextlib.contextmanager
def spied(owner, name, note):
    real = getattr(owner, name)

    def noting(*args, **kwargs):
        result = real(*args, **kwargs)
        note(result)
        return result

    setattr(owner, name, noting)
    yield
    setattr(owner, name, real)


def memory_of(memory):
    """All that it holds, as tensors and plain data."""
    held = {group: (part.images, part.counts, part.nbytes) for group, part in memory.groups.items()}
    return {"groups": held, "mean": memory.standardization.mean, "std": memory.standardization.std}


def failing(owner, name, error, rank):
    """``owner.name`` raises an error in the second process."""

    def begin(plugin):
        real = getattr(owner, name)

        def fail(*args, **kwargs):
            raise error

        if rank == 1:
            setattr(owner, name, fail)
        return lambda: setattr(owner, name, real)

    return begin


FAILURES = {
    "before training": lambda rank: failing(storage_policy, "inspect", ValueError("unfit images"), rank),
    "reading": lambda rank: failing(storage_policy, "read", OSError("disk is gone\nand more"), rank),
    "training extractors": lambda rank: failing(prepared, "train_networks", RuntimeError("no memory"), rank),
    "condensing": lambda rank: failing(condense.Steps, "step", ValueError("the loss became nan"), rank),
    "other seeds": lambda rank: lambda plugin: setattr(plugin.storage_policy.memory, "seed", rank),
}


def failed(what, rank):
    """The error of an experience in which something fails, and whether the memory stayed as it was."""
    plugin = DMReplayPlugin(12, batch_size_mem=4, progress=False, **TRAINED)
    learner = strategy(plugin, model=DistributedHelper.wrap_model(nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))))
    first, second, _ = plain().train_stream
    learner.train(first)
    before = memory_of(plugin.storage_policy.memory)
    end = what(rank)(plugin)
    try:
        learner.train(second)
        error = None
    except Exception as raised:
        error = f"{type(raised).__name__}: {raised}"
    finally:
        if end is not None:
            end()
    return {"error": error, "before": before, "after": memory_of(plugin.storage_policy.memory)}


def lost(rank):
    """The second process ends in the midst of its share."""
    buffer = CondensedBuffer(12, progress=False, **EXACT)
    if rank == 1:
        condense.Steps.step = lambda *_: os._exit(9)
    try:
        buffer.post_adapt(None, plain().train_stream[0])
    except RankLost as error:
        return f"{error}"


if __name__ == "__main__":
    main(sys.argv[1])
