"""What is condensed together in one update of a memory, and how."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..data.pool import TensorPool
from ..matching.condense import Condenser, Progress
from ..matching.config import CondenseConfig
from ..runtime.distributed import Peers
from .kinds import Kind, merged
from .standardize import AnySet, Standardization

__all__ = ["Group", "Job", "OnStep", "StandardizedNetwork", "planned", "watched"]

Group = tuple[int, int]  # task, class
OnStep = Callable[[int, int, Progress], None]


@dataclass(frozen=True)
class Job:
    """Classes of one task that are condensed together, to ``ipc`` images each.

    Attributes:
        pool: standardized by ``space``. previous: as the memory holds them.
        known: mean and std of the user's own normalization, for the metadata of the result.
    """

    task: int
    pool: TensorPool
    classes: list[int]
    ipc: int
    previous: list[AnySet]
    space: Standardization
    known: dict[str, list[float]]

    def run(
        self,
        condenser: Condenser,
        kind: Kind,
        config: CondenseConfig,
        seed: int,
        on_step: Callable[[Progress], None],
        network: nn.Module | None,
        part: slice,
        peers: Peers,
    ) -> dict[Group, AnySet]:
        """The sets of the classes of ``part``, by task and class; ``peers`` make the others. For all."""
        previous = merged(self.previous) if self.previous else None
        if previous is not None and not kind.coded:
            previous = self.space.apply_to_set(previous)
        condensed, mine = kind.condensed(self.ipc), self.classes[part]
        first, real = (previous, None) if previous is None or not condensed else kind.unmixed(previous)
        about: dict[str, Any] = dict(seed=seed, classes=self.classes, previous=first, peers=peers)
        if not mine:
            if condensed and network is None:
                condenser.assist(self.pool, replace(config, ipc=condensed), **about)
            return {}
        if not condensed:
            result = kind.real(self.pool, self.classes, self.ipc, config, seed, self.space, previous, part)
        else:
            own: dict[str, Any] = dict(on_step=on_step, network=network, shard=part)
            result = condenser.condense(self.pool, replace(config, ipc=condensed), **about, **own)
            if condensed < self.ipc:
                beside = kind.real(self.pool, self.classes, self.ipc - condensed, config, seed, self.space, real, part)
                result = kind.mixed(result, beside)
        meta = {name: value for name, value in result.meta.items() if name not in ("mean", "std")}
        result = replace(result if kind.coded else self.space.undo_set(result), meta=meta | self.known)
        return {(self.task, label): result.of_class(label) for label in mine}


def planned(
    task: int,
    pool: TensorPool,
    held: Mapping[Group, AnySet],
    sizes: Mapping[Group, int],
    space: Standardization,
    tiles: int,
    config: CondenseConfig,
) -> list[Job]:
    """A pool's classes by how many images are made of them: their size, if there are images enough.

    Args:
        held: what the memory holds of them. sizes: stored images of each. tiles: training images of a stored one.

    Where time bounds them and prefixes count in the loss, sizes that differ by one (a memory seldom divides by its
    classes) are made as the larger and cut: one condensation instead of two of half the time each.
    """
    classes = pool.classes.tolist()
    previous = {c: held[task, c] for c in classes if (task, c) in held}
    counts = zip(classes, pool.counts.tolist(), strict=True)
    found = {c: len(previous.get(c, ())) - (-new // tiles) for c, new in counts}
    own = {c: min(sizes[task, c], found[c]) for c in classes}
    together = config.prefix_weight > 0 and config.limit is not None
    largest = max(own.values(), default=0)
    by_size = defaultdict(list)
    for c, size in own.items():
        raised = together and size == largest - 1 and found[c] >= largest
        by_size[largest if raised else size].append(c)
    about = {"mean": pool.mean, "std": pool.std}
    known = {name: list(values) for name, values in about.items() if values is not None}
    pool = space.apply_to_pool(pool)
    return [
        Job(task, pool, members, ipc, [previous[c] for c in members if c in previous], space, known)
        for ipc, members in by_size.items()
    ]


class StandardizedNetwork(nn.Module):
    """A network of a stream's images, for standardized ones."""

    def __init__(self, network: nn.Module, space: Standardization):
        super().__init__()
        self.network, self.space = network, space

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.space.to(images.device).undo(images))


def watched(on_step: OnStep | None, job: int, jobs: int, each: int) -> Callable[[Progress], None]:
    """Jobs that are bounded by seconds count as the iterations that they would have had."""

    def step(progress: Progress) -> None:
        if on_step is not None:
            on_step(job * each + round(progress.part * each), jobs * each, progress)

    return step
