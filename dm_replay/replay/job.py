"""What is reduced together in one update of a memory, and how processes share it out."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..condensed.codec import Codec, Shape
from ..condensed.image_set import ImageSet
from ..coresets.reducer import Budget, Reducer, Work
from ..data.pool import TensorPool
from ..matching.progress import Progress
from ..runtime.distributed import Peers, World
from ..runtime.seeding import derive
from ..runtime.stages import span
from .standardize import Standardization
from .waiting import Group

__all__ = ["Group", "Incoming", "Job", "Networks", "OnStep", "Pools", "Update", "agreed", "shared_out"]


OnStep = Callable[[int, int, Progress], None]
Pools = TensorPool | Mapping[int, TensorPool]
Networks = Callable[[int], nn.Module] | None
T = TypeVar("T")
SAMPLE = 128  # images


@dataclass(frozen=True)
class Incoming:
    """Real images that come to a memory, by task, in the values of the stream."""

    pools: Mapping[int, TensorPool]

    @classmethod
    def of(cls, incoming: Pools) -> "Incoming":
        """A pool alone is task 0."""
        return cls(incoming if isinstance(incoming, Mapping) else {0: incoming})

    @property
    def shape(self) -> Shape:
        """(C, H, W) of the images."""
        return next(iter(self.pools.values())).shape

    @property
    def counts(self) -> dict[Group, int]:
        """Real images of each group."""
        counts = ((task, zip(p.classes.tolist(), p.counts.tolist(), strict=True)) for task, p in self.pools.items())
        return {(task, c): many for task, classes in counts for c, many in classes}

    def known(self, task: int) -> dict[str, list[float]]:
        """Mean and std of the user's own normalization; those of another task where none of this one came."""
        pool = self.pools[task] if task in self.pools else next(iter(self.pools.values()))
        return {name: list(values) for name in ("mean", "std") if (values := getattr(pool, name)) is not None}

    def sample(self, space: Standardization) -> Tensor:
        """Some of all images (N, C, H, W), in the values that a memory holds."""
        step = -(-sum(map(len, self.pools.values())) // SAMPLE)
        every = self.standardized(space).values()
        return torch.cat([pool.take(torch.arange(0, len(pool), step)).cpu() for pool in every])

    def standardized(self, space: Standardization) -> dict[int, TensorPool]:
        """The pools in the values that a memory holds; their pixels are shared."""
        return {task: space.apply_to_pool(pool) for task, pool in self.pools.items()}


@dataclass(frozen=True)
class Update:
    """How one update of a memory makes its images.

    Attributes:
        reducer, codec: what makes and stores them. space: of the standardized images.
        planned: stored images to make room for. seed, number: of the memory, and its updates before.
        on_step, networks, peers: as of the memory's ``update``.
    """

    reducer: Reducer
    codec: Codec
    space: Standardization
    planned: int
    seed: int
    number: int
    on_step: OnStep | None
    networks: Networks
    peers: Peers

    def made(
        self,
        pools: Mapping[int, TensorPool],
        came: Incoming,
        held: Mapping[Group, ImageSet],
        sizes: Mapping[Group, int],
    ) -> dict[Group, ImageSet]:
        """The images of standardized pools' classes, made together with what is held of them. For all peers.

        Args:
            came: with what. held: of the classes. sizes: stored images of each.
        """
        planned_ = ((task, pool, held, sizes, came.known(task)) for task, pool in pools.items())
        jobs, made = [job for about in planned_ for job in self._planned(*about)], dict[Group, ImageSet]()
        whole = self.networks is None and self.reducer.needs_all_classes(jobs[0].pool.shape)
        parts = shared_out([len(job.pool.classes) for job in jobs], self.peers.world, whole)
        for number, (job, part) in enumerate(zip(jobs, parts, strict=True)):
            seed = derive(self.seed, "memory", self.number, job.task, job.ipc)
            network = None if self.networks is None else StandardizedNetwork(self.networks(job.task), self.space)
            work = Work(part, self.peers, network, 1 / len(jobs), watched(self.on_step, number, len(jobs)))
            with span(number / len(jobs), (number + 1) / len(jobs)):
                made |= job.run(self.reducer, self.codec, seed, work)
        return {group: part for of_one in self.peers.exchanged(made) for group, part in of_one.items()}

    def _planned(
        self,
        task: int,
        pool: TensorPool,
        held: Mapping[Group, ImageSet],
        sizes: Mapping[Group, int],
        known: dict[str, list[float]],
    ) -> "list[Job]":
        """A pool's classes by how many images are made of them: their size, if there are images enough.

        Where more images cost less than a run of their own, sizes that differ by one (a memory seldom divides by its
        classes) are made as the larger and cut: one condensation instead of two of half the time each.
        """
        classes = pool.classes.tolist()
        previous = {c: held[task, c] for c in classes if (task, c) in held}
        counts = zip(classes, pool.counts.tolist(), strict=True)
        found = {c: len(previous.get(c, ())) - (-new // self.codec.images_per_stored) for c, new in counts}
        own = {c: min(sizes[task, c], found[c]) for c in classes}
        largest = max(own.values(), default=0)
        by_size = defaultdict(list)
        for c, size in own.items():
            raised = self.reducer.cuts_cheaply and size == largest - 1 and found[c] >= largest
            by_size[largest if raised else size].append(c)
        jobs = []
        for ipc, members in by_size.items():
            sets = [previous[c] for c in members if c in previous]
            own_pool = pool.select(pool.of_classes(members))  # not a copy
            jobs.append(Job(task, own_pool, ipc, ImageSet.merge(sets) if sets else None, known))
        return jobs


@dataclass(frozen=True)
class Job:
    """Classes of one task that are reduced together, to ``ipc`` stored images each.

    Attributes:
        pool: standardized, of these classes. previous: what the memory holds of them.
        known: mean and std of the user's own normalization, for the metadata of the result.
    """

    task: int
    pool: TensorPool
    ipc: int
    previous: ImageSet | None
    known: dict[str, list[float]]

    def run(self, reducer: Reducer, codec: Codec, seed: int, work: Work) -> dict[Group, ImageSet]:
        """The sets of the classes of ``work.part``, by task and class. For all peers."""
        made = reducer.make(self.pool, Budget(self.ipc, codec), seed=seed, previous=self.previous, work=work)
        if made is None:
            return {}
        meta = {name: value for name, value in made.meta.items() if name not in ("mean", "std")}
        made = replace(made, meta=meta | self.known)
        return {(self.task, label): part for label, part in made.by_class().items()}


class StandardizedNetwork(nn.Module):
    """A network of a stream's images, for standardized ones."""

    def __init__(self, network: nn.Module, space: Standardization):
        super().__init__()
        self.network, self.space = network, space

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.space.to(images.device).undo(images))


def watched(on_step: OnStep | None, job: int, jobs: int) -> Callable[[Progress], None]:
    """Jobs that are bounded by seconds count as the iterations that they would have had."""

    def step(progress: Progress) -> None:
        if on_step is not None:
            each = progress.iterations
            on_step(job * each + round(progress.part * each), jobs * each, progress)

    return step


def agreed(peers: Peers, plan: object, value: T) -> T:
    """The first process's value, once all have the same plan, told by its ``repr``. For all.

    Raises:
        ValueError: if they have not.
    """
    plans, values = zip(*peers.exchanged((repr(plan), value)), strict=True)
    if len(set(plans)) > 1:
        raise ValueError(
            f"the {peers.world.size} processes are to update different memories or with different classes: "
            "give each the same stream, settings and seed"
        )
    return values[0]


def shared_out(sizes: Sequence[int], world: World, whole: bool) -> list[slice]:
    """Which of the classes of each job this process makes, for jobs of so many classes each.

    The classes of all jobs, laid end to end, are cut into parts as equal as can be. ``whole`` jobs go to the process
    that has the fewest classes so far, the largest first.

    >>> from dm_replay.runtime.distributed import World
    >>> from dm_replay.replay.job import shared_out
    >>> [shared_out([1, 4], World(rank, 2), whole=False) for rank in range(2)]
    [[slice(0, 1, None), slice(0, 2, None)], [slice(1, 1, None), slice(2, 4, None)]]
    >>> [shared_out([1, 4], World(rank, 2), whole=True) for rank in range(2)]
    [[slice(0, 0, None), slice(0, 4, None)], [slice(0, 1, None), slice(0, 0, None)]]
    """
    if whole:
        return _whole(sizes, world)
    mine, parts, first = world.shard(sum(sizes)), [], 0
    for size in sizes:
        begin, end = (min(max(0, bound - first), size) for bound in (mine.start, mine.stop))
        parts.append(slice(begin, end))
        first += size
    return parts


def _whole(sizes: Sequence[int], world: World) -> list[slice]:
    loads: list[int] = [0] * world.size
    parts: list[Any] = [slice(0, 0)] * len(sizes)
    for job in sorted(range(len(sizes)), key=lambda job: -sizes[job]):
        taker = loads.index(min(loads))
        loads[taker] += sizes[job]
        if taker == world.rank:
            parts[job] = slice(0, sizes[job])
    return parts
