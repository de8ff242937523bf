"""What is reduced together in one update of a memory, and how processes share it out."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from torch import Tensor, nn

from ..condensed.codec import Codec
from ..condensed.image_set import ImageSet
from ..coresets.reducer import Budget, Reducer, Work
from ..data.pool import TensorPool
from ..matching.progress import Progress
from ..runtime.distributed import Peers, World
from .standardize import Standardization

__all__ = ["Group", "Job", "OnStep", "StandardizedNetwork", "agreed", "planned", "shared_out", "watched"]

Group = tuple[int, int]  # task, class
OnStep = Callable[[int, int, Progress], None]
T = TypeVar("T")


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


def planned(
    task: int,
    pool: TensorPool,
    held: Mapping[Group, ImageSet],
    sizes: Mapping[Group, int],
    each: int,
    reducer: Reducer,
    known: dict[str, list[float]],
) -> list[Job]:
    """A pool's classes by how many images are made of them: their size, if there are images enough.

    Args:
        held: what the memory holds of them. sizes: stored images of each. each: training images of a stored one.

    Where more images cost less than a run of their own, sizes that differ by one (a memory seldom divides by its
    classes) are made as the larger and cut: one condensation instead of two of half the time each.
    """
    classes = pool.classes.tolist()
    previous = {c: held[task, c] for c in classes if (task, c) in held}
    counts = zip(classes, pool.counts.tolist(), strict=True)
    found = {c: len(previous.get(c, ())) - (-new // each) for c, new in counts}
    own = {c: min(sizes[task, c], found[c]) for c in classes}
    largest = max(own.values(), default=0)
    by_size = defaultdict(list)
    for c, size in own.items():
        raised = reducer.cuts_cheaply and size == largest - 1 and found[c] >= largest
        by_size[largest if raised else size].append(c)
    jobs = []
    for ipc, members in by_size.items():
        sets = [previous[c] for c in members if c in previous]
        jobs.append(Job(task, pool.subset(members), ipc, ImageSet.merge(sets) if sets else None, known))
    return jobs


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
