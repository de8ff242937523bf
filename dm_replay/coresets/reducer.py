"""Reducer: which images a class's share of a memory holds, best first."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..condensed.codec import Codec, Shape
from ..condensed.dct import Dct
from ..condensed.image_set import ImageSet
from ..condensed.tiles import PLAIN
from ..data.classes import EVERY
from ..data.pixels import averaged
from ..data.pool import TensorPool
from ..runtime.distributed import ALONE, Peers
from ..runtime.settings import Plain, check_whole_numbers
from .returning import with_previous

__all__ = ["Budget", "ByShare", "Reducer", "Work", "about_pool"]


@dataclass(frozen=True)
class Budget:
    """How many stored images of each class, and how they are stored.

    Attributes:
        ipc: stored images of each class at most. codec: what stores them.

    Raises:
        ValueError: for less than one image.

    >>> import torch
    >>> from dm_replay import Budget, Tiles, load_dataset
    >>> digits = load_dataset("digits").train
    >>> budget = Budget(2, Tiles(tiles=2)).fit(digits)
    >>> budget.images, len(budget.store(digits, torch.rand(10, budget.images, *digits.shape)))
    (8, 20)
    """

    ipc: int = 10
    codec: Codec = PLAIN

    def __post_init__(self) -> None:
        check_whole_numbers(self, ipc=1)

    def fit(self, pool: TensorPool) -> "Budget":
        """The same for a pool's images; values of uint8 pixels are kept in bytes unless the codec says otherwise."""
        codec = self.codec.or_stored_as("uint8") if pool.images.dtype == torch.uint8 else self.codec
        return replace(self, codec=codec.fit(pool.shape))

    @property
    def images(self) -> int:
        """Training images of each class."""
        return self.ipc * self.codec.images_per_stored

    def store(self, pool: TensorPool, images: Tensor, seed: int = 0) -> ImageSet:
        """Images (K, M, C, H, W) of each class of a pool, best first, as a set.

        Where M is not a multiple of ``images_per_stored``, images are repeated.

        Args:
            seed: that they were made with, for the metadata.
        """
        codec = self.fit(pool).codec
        many, size = images.shape[1], codec.working_shape(pool.shape)[1:]
        stored = -(-many // codec.images_per_stored)
        turns = torch.arange(stored * codec.images_per_stored) % many
        labels = pool.classes.repeat_interleave(stored)
        values = codec.encode(averaged(images[:, turns].flatten(0, 1), size))
        about = pool.counts, {"seed": seed, **about_pool(pool)}
        return ImageSet.from_values(values, labels, codec, pool.shape, *about)

    def store_rows(self, pool: TensorPool, rows: Tensor, seed: int = 0) -> ImageSet:
        """Real images of a pool, by their rows (K, M) of each class, as :meth:`store` does."""
        height, width = self.fit(pool).codec.working_shape(pool.shape)[1:]
        images = pool.select(rows.flatten()).shrunk(height, width).take(torch.arange(rows.numel()))
        return self.store(pool, images.cpu().unflatten(0, rows.shape), seed)

    def check_enough(self, pool: TensorPool, previous: ImageSet | None = None) -> None:
        """See that each class has images enough to fill its stored ones without repeating a whole one.

        Where previous images are there, they fill what the new ones do not.

        Raises:
            ValueError: if a class has too few.
        """
        if previous is not None:
            return
        short = int(pool.counts.argmin())
        if -(-int(pool.counts[short]) // self.codec.images_per_stored) < self.ipc:
            have = f"class {int(pool.classes[short])} has {int(pool.counts[short])} images"
            raise ValueError(f"{have}, fewer than {self.images}")


@dataclass(frozen=True)
class Work:
    """How a memory has its shares made.

    Attributes:
        part: of the pool's classes, which this process makes; ``peers`` make the others.
        network: trained on the stream already, to condense with. time: the part of its time that a reducer may take.
        on_step: called with the progress of what has one.
    """

    part: slice = field(default_factory=lambda: EVERY)
    peers: Peers = ALONE
    network: nn.Module | None = None
    time: float = 1.0
    on_step: Callable[[Any], None] | None = None


@dataclass(frozen=True)
class Reducer(Plain):
    """Makes a few images of each class of a pool. Your own is a frozen dataclass with :meth:`reduce`.

    Attributes:
        joins_previous: whether :meth:`reduce` takes images of returning classes up itself. Else the memory keeps of
            them the part that they are of all that came.

    >>> from dataclasses import dataclass
    >>> from dm_replay import Budget, Reducer, load_dataset
    >>> @dataclass(frozen=True)
    ... class First(Reducer):
    ...     def reduce(self, pool, budget, *, seed, previous=None):
    ...         rows = [(pool.labels == label).nonzero()[: budget.images, 0] for label in pool.classes]
    ...         return budget.store_rows(pool, torch.stack(rows))
    >>> import torch
    >>> len(First().reduce(load_dataset("digits").train, Budget(3), seed=0))
    30
    """

    joins_previous: ClassVar[bool] = False

    @property
    def usual_codec(self) -> Codec:
        """What stores its images where bytes count and nothing else is said."""
        return Dct()

    @abstractmethod
    def reduce(self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None = None) -> ImageSet:
        """At most ``budget.ipc`` stored images of every class of the pool, each class's best first.

        Args:
            pool: real images, to be had by :meth:`TensorPool.take`: ``images`` may be those of other classes, too.
            budget: how many, and how stored. seed: of everything random.
            previous: what is held of classes that come again.
        """

    def check(self, shape: Shape) -> None:
        """ValueError unless images (C, H, W) can be reduced, before anything is trained."""

    def needs_all_classes(self, shape: Shape) -> bool:
        """Whether what becomes of a class depends on the others beside it, so that processes cannot share them out."""
        return False

    @property
    def cuts_cheaply(self) -> bool:
        """Whether making more images and cutting them is better than a run of its own for each size."""
        return False

    def make(
        self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None = None, work: Work = Work()
    ) -> ImageSet | None:
        """Images of the classes of ``work.part``, with what is kept of ``previous``; None where it has no class."""
        if previous is None or self.joins_previous:
            return self.share(pool, budget, seed=seed, previous=previous, work=work)
        made = self.share(pool, budget, seed=seed, previous=previous, work=work)
        return made if made is None else with_previous(made, previous, budget.ipc, seed)

    def share(
        self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None, work: Work
    ) -> ImageSet | None:
        """:meth:`reduce` of the classes of ``work.part``."""
        mine = pool.classes[work.part]
        if not len(mine):
            return None
        return self.reduce(pool.select(pool.of_classes(mine)), budget, seed=seed, previous=previous)


class ByShare(Reducer):
    """A reducer that says itself what a process makes of its classes; alone it makes all."""

    def reduce(self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None = None) -> ImageSet:
        made = self.share(pool, budget, seed=seed, previous=previous, work=Work())
        assert made is not None
        return made

    @abstractmethod
    def share(
        self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None, work: Work
    ) -> ImageSet | None: ...


def about_pool(pool: TensorPool) -> dict[str, Any]:
    """What a set records of the pool that it comes from."""
    known = {"mean": pool.mean, "std": pool.std, "names": pool.names}
    return {name: list(values) for name, values in known.items() if values is not None}
