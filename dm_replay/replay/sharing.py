"""How several processes share an update of a memory out, and that they agree on what it is."""

from collections.abc import Sequence
from typing import TypeVar

import torch

from ..networks import build_network
from ..runtime.distributed import Peers, World

__all__ = ["agreed", "indivisible", "shared_out"]

T = TypeVar("T")


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


def indivisible(network: str, shape: tuple[int, int, int]) -> bool:
    """Whether what a network makes of a class depends on the others beside it: it has BatchNorm."""
    with torch.device("meta"):
        return build_network(network, shape, 1).batch_statistics


def shared_out(sizes: Sequence[int], world: World, whole: bool) -> list[slice]:
    """Which of the classes of each job this process makes, for jobs of so many classes each.

    The classes of all jobs, laid end to end, are cut into parts as equal as can be. ``whole`` jobs go to the process
    that has the fewest classes so far, the largest first.

    >>> from dm_replay.runtime.distributed import World
    >>> from dm_replay.replay.sharing import shared_out
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
    loads, parts = [0] * world.size, [slice(0, 0)] * len(sizes)
    for job in sorted(range(len(sizes)), key=lambda job: -sizes[job]):
        taker = loads.index(min(loads))
        loads[taker] += sizes[job]
        if taker == world.rank:
            parts[job] = slice(0, sizes[job])
    return parts
