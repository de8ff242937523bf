"""CondensedMemory: a fixed number of condensed images, shared among the groups seen so far."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..condensed.codec import Codec, Shape
from ..condensed.image_set import ImageSet
from ..condensed.webp import Webp
from ..coresets.reducer import Reducer, Work
from ..data.pool import TensorPool
from ..matching.config import CondenseConfig
from ..matching.reducer import reducer_of
from ..runtime.distributed import ALONE, Peers
from ..runtime.engine import cpu_by_default
from ..runtime.seeding import derive, new_generator
from ..runtime.stages import span
from ..runtime.validation import whole_number
from .beginning import begin, stored_like
from .job import Group, OnStep, StandardizedNetwork, agreed, planned, shared_out, watched
from .memory_file import read_memory, write_memory
from .size import FixedSize, dealt
from .standardize import Standardization, check_scale
from .waiting import Waiting, WaitingRoom, cut

__all__ = ["DEFAULT", "CondensedMemory", "Group"]

Pools = TensorPool | Mapping[int, TensorPool]
Networks = Callable[[int], nn.Module] | None

# 0.37 s per iteration for two classes of CIFAR-10 at 10 images each on two CPU cores, 0.75 s at 100; ten classes of
# CIFAR-100 at 20 images each would take minutes, of which the patience is the first.
DEFAULT = CondenseConfig(iterations=200, patience=60.0, prefix_weight=0.05)


@cpu_by_default
class CondensedMemory(FixedSize):
    """Condensed or real images in a memory of a fixed size: at most so many stored images, or so many bytes.

    A memory of ``mem_size`` stores values with a byte each. One of ``mem_bytes`` stores images as small as it pays, all
    that decoding needs counted, and has the ``mem_size`` that these come to. What the codec says goes first.

    The memory is dealt round among the groups seen, in order of arrival: shares differ by one, and none grows when
    groups join. A group gets no more images than it has real ones; what it leaves goes to the others. What comes in is
    reduced to its share; what is already there is cut to its prefix, at no cost and without the old data.

    Images may come in any scale: the memory holds them with each channel standardized by the mean and deviation of the
    first update's images, and maps them back when they leave.

    Args:
        mem_size: images in all. mem_bytes: bytes in all, instead.
        ipc: a fixed number for each group instead; the rest waits for further groups.
        config: how to condense, and its codec; its ``ipc`` is chosen here.
        seed: the same seed and the same stream give the same images.
        kind: what fills a class's share: "condensed", "random", "herding", "kmeans", "webp" (herded, as small files),
            or a :class:`Reducer`. real_fraction: of "condensed", the part of a class's images that are herded ones.
        codec: how images are stored, instead of that of ``config``.

    Attributes:
        held: the set of each (task, class), in order of arrival, standardized. reducer: what makes them.
        waiting: which of these are real ones that wait to be condensed, see :meth:`add`.
        updates: how often something was reduced into the memory. arrivals: how often images came to wait.
        standardization: between the stream's values and those held; None before the first update.

    Raises:
        ValueError: for a size below 1, both sizes or neither, or an ``ipc`` that does not fit.

    >>> from dm_replay import CondenseConfig, CondensedMemory, load_dataset
    >>> digits = load_dataset("digits").train
    >>> config = CondenseConfig.preset("paper", iterations=2, batch_real=8, network="convnet:width=8")
    >>> memory = CondensedMemory(8, config=config)
    >>> memory.update(digits.subset([0, 1]))
    >>> memory.update(digits.subset([2]))
    >>> {group: len(images) for group, images in memory.groups.items()}  # (task, class): images
    {(0, 0): 3, (0, 1): 3, (0, 2): 2}
    """

    def __init__(
        self,
        mem_size: int | None = None,
        ipc: int | None = None,
        config: CondenseConfig | None = None,
        seed: int = 0,
        *,
        mem_bytes: int | None = None,
        kind: str | Reducer = "condensed",
        real_fraction: float = 0.0,
        codec: Codec | None = None,
    ):
        config = config or DEFAULT
        if codec is not None or kind == "webp":
            config = replace(config, codec=codec or Webp())
        super().__init__(mem_size, mem_bytes, ipc, config.codec)
        self.config, self.reducer = config, reducer_of(kind, config, real_fraction)
        self.seed = whole_number("seed", seed)
        self.held: dict[Group, ImageSet] = {}
        self.waiting: dict[Group, Waiting] = {}
        self.updates = self.arrivals = 0
        self.standardization: Standardization | None = None

    def save(self, path: str | Path) -> None:
        """Write all that the memory is, with a checksum, whole or not at all: images, sizes, settings, seed.

        Raises:
            OSError: if the file cannot be written.

        >>> from dm_replay import CondensedMemory
        >>> CondensedMemory(200).save("memory.pt")
        >>> CondensedMemory.load("memory.pt").mem_size
        200
        """
        write_memory(vars(self), path)

    @classmethod
    def load(cls, path: str | Path) -> "CondensedMemory":
        """Read a file of :meth:`save`; the next update goes on as that of the memory saved. Runs no code.

        Raises:
            ValueError: if it is missing, damaged or something else.
        """
        return read_memory(path, cls)

    @classmethod
    def from_set(
        cls,
        condensed: ImageSet,
        mem_size: int | None = None,
        *,
        task: int = 0,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        config: CondenseConfig | None = None,
        **settings: Any,
    ) -> "CondensedMemory":
        """A memory that holds a condensed set already, as ``dm-replay condense`` makes them.

        Each class is cut to its share. Mosaics and color are those of the set, whatever ``config`` says of them.

        Args:
            task: of the set's classes, which are the stream's.
            mean, std: of the stream's own normalization, per channel in units of [0, 1]: 0 and 1 where its images come
                in [0, 1], 0 and 1/255 in bytes. Without them they are taken to be those of the set.
            settings: ``mem_bytes`` instead of ``mem_size``, and what else a new memory takes.

        Raises:
            ValueError: as for a new memory, if the set does not fit, or ``mean`` and ``std`` are given and the set does
                not say its own.

        >>> import torch
        >>> from dm_replay import CondensedMemory, ImageSet
        >>> condensed = ImageSet.from_images(torch.rand(6, 1, 8, 8), torch.tensor([0, 0, 0, 1, 1, 1]))
        >>> len(CondensedMemory.from_set(condensed, mem_size=4))
        4
        """
        memory = cls(mem_size, config=stored_like(config or DEFAULT, condensed), **settings)
        begin(memory, condensed, task, mean, std)
        return memory

    def __len__(self) -> int:
        return sum(map(len, self.held.values()))

    @property
    def nbytes(self) -> int:
        """Bytes of the stored images and of the standardization, labels apart."""
        shared = 0 if self.standardization is None else self.standardization.nbytes
        return shared + sum(part.nbytes for part in self.held.values())

    @property
    def counts(self) -> dict[Group, int]:
        """How many real images each group stands for."""
        return {group: int(part.counts) for group, part in self.held.items()}

    @property
    def groups(self) -> dict[Group, ImageSet]:
        """The set of each (task, class), in order of arrival, in the stream's values."""
        if self.standardization is None:
            return {}
        return {group: self.standardization.leave(part) for group, part in self.held.items()}

    def to_set(self) -> tuple[ImageSet, Tensor]:
        """All images in one set, group by group, in the stream's values, and the task (N,) of each."""
        tasks = [task for (task, _), part in self.held.items() for _ in range(len(part))]
        return ImageSet.merge(list(self.groups.values())), torch.tensor(tasks)

    @property
    def shape(self) -> Shape | None:
        """(C, H, W) of the images held, if any are."""
        return next((part.shape for part in self.held.values()), None)

    def shares(self, incoming: Iterable[Group], shape: Shape | None = None) -> dict[Group, int]:
        """The share of every group once the incoming ones, of images (C, H, W), have joined; ValueError likewise."""
        joined = list(dict.fromkeys([*self.held, *incoming]))
        return dict(zip(joined, self.lengths(len(joined), shape), strict=True)) if joined else {}

    def update(
        self,
        incoming: Pools,
        on_step: OnStep | None = None,
        networks: Networks = None,
        peers: Peers = ALONE,
    ) -> None:
        """Condense real images into the memory.

        A class that comes again is condensed together with what the memory holds of it, each
        weighted by the real images it stands for. An exception leaves the memory as it was.

        Args:
            incoming: real images by task; a pool alone is task 0.
            on_step: called as ``on_step(done, total, progress)`` after each iteration.
            networks: of a task, the network to condense with, trained on images as the pools give them; see
                :func:`condense`.
            peers: processes that update equal memories with the same images: they share the classes out, and each has
                all of them in the end. A job with BatchNorm, whose statistics are over all its classes, is one's alone.

        Raises:
            ValueError: the classes will not fit, the images have another shape than those held, or the loss
                does not stay finite; if so in one of several processes, then in all.
        """
        pools = _by_task(incoming)
        with peers.together():
            shape, space = self._space(pools, peers)
            each, counts = self.fitted(shape).images_per_stored, _counts(pools)
            limits = {group: len(self.held.get(group, ())) - (-many // each) for group, many in counts.items()}
            sizes, known = self.sizes(limits, shape), _known(pools)
            standardized = {task: space.apply_to_pool(pool) for task, pool in pools.items()}
            made = self._made(standardized, known, self.held, sizes, space, on_step, networks, peers)
        waiting = {group: images for group, images in self.waiting.items() if group not in made}
        self._settle(self.held | made, waiting, sizes, space)
        self.updates += 1

    def add(
        self,
        incoming: Pools,
        on_step: OnStep | None = None,
        networks: Networks = None,
        peers: Peers = ALONE,
    ) -> bool:
        """Take a few images of a stream that does not say where its experiences end.

        They wait in the memory as real images, stored like the rest and within its size, and are replayed from now on.
        When more of a class wait than its share has place for, and at least half as many as it stood for came, those
        that wait are condensed together with what the memory holds of their classes. Till then those that wait are a
        fair draw of what came. So the number of condensations grows with the logarithm of the stream's length. No class
        takes more of the memory than it is of all that came: what has just begun would be most of what is replayed.

        Arguments and errors are those of :meth:`update`.

        Returns:
            Whether anything was condensed.
        """
        pools = _by_task(incoming)
        with peers.together():
            shape, space = self._space(pools, peers)
            standardized = {task: space.apply_to_pool(pool) for task, pool in pools.items()}
            arrived = {(task, c): standardized[task].subset([c]) for task, c in _counts(pools)}
            room = WaitingRoom(self.fitted(shape), self.held, self.waiting, arrived)
            sizes = self.sizes(room.limits(self.capacity(shape) if self.ipc is None else None), shape)
            ready, made = room.ready(sizes), dict[Group, ImageSet]()
            if ready:
                about = _known(pools), room.held(ready), sizes, space, on_step, networks, peers
                made = self._made(room.pools(ready), *about)
            groups, waiting = room.settled(made, sizes, new_generator(self.seed, "waiting", self.arrivals))
            if peers.world.size > 1:  # random transforms gave each process other images, which wait as they came
                came = {group: groups[group] for group in arrived}
                came, waiting = peers.exchanged((came, waiting))[0]
                groups |= came
        self._settle(groups, waiting, sizes, space)
        self.updates += bool(made)
        self.arrivals += 1
        return bool(made)

    def resize(self, mem_size: int | None = None, *, mem_bytes: int | None = None) -> None:
        """A smaller size cuts every group now; a larger one serves the updates from now on.

        Raises:
            ValueError: if the groups do not fit, or another unit of size would store images otherwise than those held.
        """
        resized = FixedSize(mem_size, mem_bytes, self.ipc, self.codec)
        if self.shape and resized.fitted(self.shape) != self.fitted(self.shape):
            raise ValueError("the images held are stored as their count or their bytes asked for: resize in the same")
        if self.held:
            resized.lengths(len(self.held), self.shape)
        self.mem_size, self.mem_bytes = resized.mem_size, resized.mem_bytes
        if self.shape and self.standardization:
            self._settle(self.held, self.waiting, self.sizes({}, self.shape), self.standardization)

    def check_shapes(self, shapes: Iterable[tuple[int, ...]]) -> Shape:
        """The one shape (C, H, W) of these and of the images held.

        Raises:
            ValueError: unless it is one, and such images can be stored.
        """
        found = sorted({tuple(shape) for shape in shapes} | ({self.shape} if self.shape else set()))
        if len(found) != 1:
            raise ValueError(f"expected images of one shape, got {found or 'none'}")
        channels, height, width = found[0]
        self.fitted((channels, height, width))
        return channels, height, width

    def check_scale(self, pools: Iterable[TensorPool]) -> None:
        """ValueError if the pools' images are in another scale than those held, see :func:`check_scale`."""
        if self.standardization is not None:
            check_scale(self.standardization, list(self.held.values()), pools)

    def _space(self, pools: Mapping[int, TensorPool], peers: Peers) -> tuple[Shape, Standardization]:
        """The shape of all images, and the space to condense them in; the same in all processes."""
        if not pools:
            raise ValueError("expected images of one shape, got none")
        shape = self.check_shapes(pool.shape for pool in pools.values())
        self.shares(_counts(pools), shape)
        self.check_scale(pools.values())
        return shape, agreed(peers, self._plan(pools), self.standardization or Standardization.fit(pools.values()))

    def _plan(self, pools: Mapping[int, TensorPool]) -> tuple:
        """What processes that update equal memories alike have in common."""
        images = {task: pool.shape for task, pool in pools.items()}, _counts(pools)
        made = self.updates, self.arrivals, self.counts
        reducer = repr(self.reducer).replace(f"device={self.config.machine.device!r}", "")
        return images, made, self.seed, reducer, self.codec, self.mem_size, self.mem_bytes, self.ipc

    def sizes(self, limits: Mapping[Group, int], shape: Shape) -> dict[Group, int]:
        """Stored images of every group, at most ``limits`` of those that come in and what is held of the others."""
        every = {group: len(part) for group, part in self.held.items()} | dict(limits)
        if self.ipc is not None:
            return {group: min(limit, self.ipc) for group, limit in every.items()}
        return dict(zip(every, dealt(self.capacity(shape), list(every.values())), strict=True))

    def _settle(
        self,
        groups: Mapping[Group, ImageSet],
        waiting: Mapping[Group, Waiting],
        sizes: Mapping[Group, int],
        space: Standardization,
    ) -> None:
        """Take these images, cut to their sizes."""
        parts = {group: cut(groups[group], waiting.get(group, Waiting()), size) for group, size in sizes.items()}
        self.held = {group: part for group, (part, _) in parts.items()}
        self.waiting = {group: images for group, (_, images) in parts.items() if images.stored}
        self.standardization = space

    def _made(
        self,
        pools: Mapping[int, TensorPool],
        known: Mapping[int, dict[str, list[float]]],
        held: Mapping[Group, ImageSet],
        sizes: Mapping[Group, int],
        space: Standardization,
        on_step: OnStep | None,
        networks: Networks,
        peers: Peers,
    ) -> dict[Group, ImageSet]:
        """The images of the standardized pools' classes, made together with what is held of them."""
        shape = next(iter(pools.values())).shape
        codec, made = self.fitted(shape), dict[Group, ImageSet]()
        jobs = [
            job
            for task, pool in pools.items()
            for job in planned(task, pool, held, sizes, codec.images_per_stored, self.reducer, known[task])
        ]
        whole = networks is None and self.reducer.needs_all_classes(shape)
        parts = shared_out([len(job.pool.classes) for job in jobs], peers.world, whole)
        for number, (job, part) in enumerate(zip(jobs, parts, strict=True)):
            seed = derive(self.seed, "memory", self.updates, job.task, job.ipc)
            network = None if networks is None else StandardizedNetwork(networks(job.task), space)
            work = Work(part, peers, network, 1 / len(jobs), watched(on_step, number, len(jobs)))
            with span(number / len(jobs), (number + 1) / len(jobs)):
                made |= job.run(self.reducer, codec, seed, work)
        return {group: part for of_one in peers.exchanged(made) for group, part in of_one.items()}


def _by_task(incoming: Pools) -> Mapping[int, TensorPool]:
    return incoming if isinstance(incoming, Mapping) else {0: incoming}


def _counts(pools: Mapping[int, TensorPool]) -> dict[Group, int]:
    """Real images of each group."""
    counts = ((task, zip(pool.classes.tolist(), pool.counts.tolist(), strict=True)) for task, pool in pools.items())
    return {(task, c): many for task, classes in counts for c, many in classes}


def _known(pools: Mapping[int, TensorPool]) -> dict[int, dict[str, list[float]]]:
    """Mean and std of the user's own normalization, by task."""
    return {
        task: {name: list(values) for name in ("mean", "std") if (values := getattr(pool, name)) is not None}
        for task, pool in pools.items()
    }
