"""Reducers beyond those of real images: condensation, two that share each class, and all of them by name."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..condensed.codec import Codec, Shape
from ..condensed.image_set import ImageSet
from ..coresets.real import Herding, KMeans, Random
from ..coresets.reducer import Budget, ByShare, Reducer, Work
from ..data.pool import TensorPool
from ..networks import build_network, check_buildable
from .condense import Condenser
from .config import IN_BYTES, CondenseConfig

__all__ = ["Condense", "KINDS", "Mixed", "reducer_of"]


@dataclass(frozen=True)
class Condense(ByShare):
    """Distribution matching, see :func:`condense`; ``ipc`` and ``codec`` of the config are those of the budget.

    >>> from dm_replay import Budget, Condense, CondenseConfig, load_dataset
    >>> config = CondenseConfig.preset("fast", iterations=2, network="convnet:width=8", extractors=0)
    >>> len(Condense(config).reduce(load_dataset("digits").train, Budget(1), seed=0))
    10
    """

    joins_previous = True

    config: CondenseConfig = CondenseConfig()

    def share(
        self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None, work: Work
    ) -> ImageSet | None:
        """Processes without a class take part in the training of extractors."""
        config = replace(self.config, ipc=budget.ipc, codec=budget.codec, bytes_per_class=None)
        for name in ("seconds", "patience"):
            if getattr(config, name) is not None:
                config = replace(config, **{name: work.time * getattr(config, name)})
        about: dict[str, Any] = dict(seed=seed, classes=pool.classes.tolist(), previous=previous, peers=work.peers)
        if len(pool.classes[work.part]):
            own: dict[str, Any] = dict(on_step=work.on_step, network=work.network, shard=work.part)
            return self._condenser.condense(pool, config, **about, **own)
        if work.network is None:
            self._condenser.assist(pool, config, **about)
        return None

    @property
    def _condenser(self) -> Condenser:
        """Kept, so that a stream compiles once; no copy or file of the settings has it."""
        if "_kept" not in vars(self):
            object.__setattr__(self, "_kept", Condenser())
        return vars(self)["_kept"]

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config}

    def __setstate__(self, state: dict[str, Any]) -> None:
        object.__setattr__(self, "config", state["config"])

    @property
    def usual_codec(self) -> Codec:
        return IN_BYTES

    def check(self, shape: Shape) -> None:
        check_buildable(self.config.network, shape)

    def needs_all_classes(self, shape: Shape) -> bool:
        """With BatchNorm, whose statistics are over all of a job's classes."""
        with torch.device("meta"):
            return bool(build_network(self.config.network, shape, 1).batch_statistics)

    @property
    def cuts_cheaply(self) -> bool:
        """Where time bounds them and prefixes count in the loss."""
        return self.config.prefix_weight > 0 and self.config.limit is not None


@dataclass(frozen=True)
class Mixed(ByShare):
    """Images of one reducer and of another, so that any prefix of a class has as many of each as its share.

    Args:
        first, second: what makes them. fraction: the part of the second, from 0 to below 1; of the first at least one
            image stays.

    Raises:
        ValueError: for another fraction.

    >>> from dm_replay import Budget, Herding, Mixed, Random, load_dataset
    >>> mixed = Mixed(Herding("convnet:width=8"), Random(), 0.25)
    >>> len(mixed.reduce(load_dataset("digits").train, Budget(4), seed=0))
    40
    """

    joins_previous = True

    first: Reducer = Random()
    second: Reducer = Random()
    fraction: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fraction < 1:
            raise ValueError(f"fraction must be from 0 to below 1, got {self.fraction}")

    @property
    def usual_codec(self) -> Codec:
        return self.first.usual_codec

    def share(
        self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None, work: Work
    ) -> ImageSet | None:
        many = self.firsts(budget.ipc)
        held = (None, None) if previous is None else self.unmixed(previous)
        made = self.first.make(pool, replace(budget, ipc=many), seed=seed, previous=held[0], work=work)
        if many == budget.ipc:
            return made
        rest = replace(budget, ipc=budget.ipc - many)
        beside = self.second.make(pool, rest, seed=seed, previous=held[1], work=work)
        return made if made is None or beside is None else self.mixed(made, beside)

    def check(self, shape: Shape) -> None:
        self.first.check(shape)
        self.second.check(shape)

    def needs_all_classes(self, shape: Shape) -> bool:
        return self.first.needs_all_classes(shape) or self.second.needs_all_classes(shape)

    @property
    def cuts_cheaply(self) -> bool:
        return self.first.cuts_cheaply

    def firsts(self, ipc: int) -> int:
        """How many of a class's ``ipc`` images are the first reducer's."""
        return ipc - min(math.floor(ipc * self.fraction + 0.5), max(0, ipc - 1))

    def mixed(self, first: ImageSet, second: ImageSet) -> ImageSet:
        """Images of the same classes as one set."""
        return replace(_reordered(ImageSet.merge([first, second]), self._order), counts=first.counts)

    def unmixed(self, images: ImageSet) -> tuple[ImageSet, ImageSet | None]:
        """A set of :meth:`mixed`, or prefixes of one, with the first ones in front, and its second ones alone."""
        sorted_ = _reordered(images, lambda length: self._order(length).argsort())
        second = _reordered(images, lambda length: self._order(length).argsort()[self.firsts(length) :])
        return sorted_, second if len(second) else None

    def _order(self, ipc: int) -> Tensor:
        """(ipc,): where a class's images come from, if the first ones stand in front of the second ones."""
        second = torch.tensor([length - self.firsts(length) for length in range(ipc + 1)]).diff() > 0
        return torch.where(second, self.firsts(ipc) + second.cumsum(0), (~second).cumsum(0)) - 1


def _reordered(images: ImageSet, order) -> ImageSet:
    """The images of each class in the order (M,) that ``order`` gives for their number."""
    own = [(images.labels == label).nonzero()[:, 0] for label in images.classes]
    return images.select(torch.cat([rows[order(len(rows))] for rows in own]))


KINDS = ("condensed", "random", "herding", "kmeans")


def reducer_of(kind: "str | Reducer", config: CondenseConfig, real_fraction: float = 0.0) -> Reducer:
    """The reducer of a name, with the settings of a config, or the one given.

    Args:
        kind: one of :data:`KINDS`. real_fraction: of "condensed", the part of a class's images that are herded.

    Raises:
        ValueError: for an unknown name, or a fraction that does not go with it.
    """
    if isinstance(kind, Reducer):
        found: Reducer = kind
    elif kind in KINDS:
        embedding = config.network, config.machine.memory_budget
        herding = Herding(*embedding)
        named = {"random": Random(), "herding": herding, "kmeans": KMeans(*embedding), "condensed": Condense(config)}
        found = named[kind]
        if real_fraction and kind == "condensed":
            return Mixed(found, herding, real_fraction)
    else:
        raise ValueError(f"unknown kind {kind!r}; choose from {', '.join(KINDS)}, or give a Reducer")
    if real_fraction:
        raise ValueError(f"real_fraction is for kind 'condensed', got {real_fraction} for {kind}")
    return found
