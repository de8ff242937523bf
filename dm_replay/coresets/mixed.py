"""Two reducers that share every class between them."""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..condensed.codec import Shape
from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool
from .real import Random
from .reducer import Budget, ByShare, Reducer, Work

__all__ = ["Mixed"]


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
