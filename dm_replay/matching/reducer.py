"""Condense: condensation as what fills a memory's shares, and the reducers that have names."""

from dataclasses import dataclass, replace
from typing import Any

from ..condensed.codec import Shape
from ..condensed.image_set import ImageSet
from ..coresets.mixed import Mixed
from ..coresets.real import Herding, KMeans, Random
from ..coresets.reducer import Budget, ByShare, Reducer, Work
from ..data.pool import TensorPool
from ..networks import build_network, check_buildable
from .condense import Condenser
from .config import CondenseConfig

__all__ = ["KINDS", "Condense", "reducer_of"]

KINDS = ("condensed", "random", "herding", "kmeans", "webp")


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

    def check(self, shape: Shape) -> None:
        check_buildable(self.config.network, shape)

    def needs_all_classes(self, shape: Shape) -> bool:
        """With BatchNorm, whose statistics are over all of a job's classes."""
        import torch

        with torch.device("meta"):
            return bool(build_network(self.config.network, shape, 1).batch_statistics)

    @property
    def cuts_cheaply(self) -> bool:
        """Where time bounds them and prefixes count in the loss."""
        return self.config.prefix_weight > 0 and self.config.limit is not None


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
        named = {"random": Random(), "kmeans": KMeans(*embedding), "condensed": Condense(config)}
        found = named.get(kind, herding)
        if real_fraction and kind == "condensed":
            return Mixed(found, herding, real_fraction)
    else:
        raise ValueError(f"unknown kind {kind!r}; choose from {', '.join(KINDS)}, or give a Reducer")
    if real_fraction:
        raise ValueError(f"real_fraction is for kind 'condensed', got {real_fraction} for {kind}")
    return found
