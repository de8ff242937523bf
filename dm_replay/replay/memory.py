"""CondensedMemory: a fixed number of condensed images, shared among the groups seen so far."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..condensed.codec import Codec
from ..condensed.image_set import ImageSet
from ..condensed.tiles import Tiles
from ..coresets.reducer import Reducer
from ..matching.config import CondenseConfig
from ..matching.reducer import reducer_of
from ..runtime.distributed import ALONE, Peers
from ..runtime.hardware import cpu_by_default
from ..runtime.seeding import new_generator
from ..runtime.settings import whole_number
from .contents import Contents
from .job import Group, Incoming, Networks, OnStep, Pools, Update, agreed
from .memory_file import begin, read_memory, stored_like, write_memory
from .standardize import Standardization
from .waiting import WaitingRoom

__all__ = ["DEFAULT", "CondensedMemory", "Group"]

# 0.37 s per iteration for two classes of CIFAR-10 at 10 images each on two CPU cores, 0.75 s at 100; ten classes of
# CIFAR-100 at 20 images each would take minutes, of which the patience is the first.
DEFAULT = CondenseConfig(iterations=200, patience=60.0, prefix_weight=0.05)


@cpu_by_default
class CondensedMemory(Contents):
    """Condensed or real images in a memory of a fixed size: at most so many stored images, or so many bytes.

    A memory of ``mem_size`` stores values with a byte each. One of ``mem_bytes`` stores images as small as it pays, all
    that decoding needs counted, and has no ``mem_size``. What the codec says goes first.

    The memory is dealt round among the groups seen, in order of arrival: shares differ by an image, and none grows when
    groups join. A group gets no more images than it has real ones; what it leaves goes to the others. What comes in is
    reduced to its share; what is already there is cut to its prefix, at no cost and without the old data.

    Images may come in any scale: the memory holds them with each channel standardized by the mean and deviation of the
    first update's images, and maps them back when they leave.

    Args:
        mem_size: images in all. mem_bytes: bytes in all, instead.
        ipc: a fixed number for each group instead; the rest waits for further groups.
        config: how to condense, and its codec; its ``ipc`` is chosen here.
        seed: the same seed and the same stream give the same images.
        kind: what fills a class's share: "condensed", "random", "herding", "kmeans" or a :class:`Reducer`.
        real_fraction: of "condensed", the part of a class's images that are herded ones.
        codec: how images are stored, instead of that of ``config``. Where neither says it, ``mem_bytes`` takes
            :class:`Dct`, which keeps real images whole, and condensed ones at up to 64 pixels a side.

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
        self.reducer = reducer_of(kind, config, real_fraction)
        if codec is None and mem_bytes is not None and config.codec == Tiles():
            codec = self.reducer.usual_codec
        super().__init__(mem_size, mem_bytes, ipc, codec or config.codec)
        self.config = replace(config, codec=self.codec)
        self.seed = whole_number("seed", seed)
        self.updates = self.arrivals = 0

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
        came = Incoming.of(incoming)
        with peers.together():
            update = self._begun(came, on_step, networks, peers)
            each = update.codec.images_per_stored
            limits = {group: len(self.held.get(group, ())) - (-many // each) for group, many in came.counts.items()}
            sizes = self.sizes(limits, came.shape, update.planned)
            made = update.made(came.standardized(update.space), came, self.held, sizes)
        waiting = {group: images for group, images in self.waiting.items() if group not in made}
        self.settle(self.held | made, update.space, waiting, {group: sizes[group] for group in came.counts})
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
        came = Incoming.of(incoming)
        with peers.together():
            update = self._begun(came, on_step, networks, peers)
            pools = came.standardized(update.space)
            arrived = {(task, c): pools[task].subset([c]) for task, c in came.counts}
            room = WaitingRoom(update.codec, self.held, self.waiting, arrived)
            limits = room.limits(update.planned if self.ipc is None else None)
            sizes = self.sizes(limits, came.shape, update.planned)
            ready = room.ready(sizes)
            made = update.made(room.pools(ready), came, room.held(ready), sizes) if ready else {}
            groups, waiting = room.settled(made, sizes, new_generator(self.seed, "waiting", self.arrivals))
            if peers.world.size > 1:  # random transforms gave each process other images, which wait as they came
                own, waiting = peers.exchanged(({group: groups[group] for group in arrived}, waiting))[0]
                groups |= own
        limits = {group: sizes[group] for group in arrived.keys() | made.keys()}
        self.settle(groups, update.space, waiting, limits)
        self.updates += bool(made)
        self.arrivals += 1
        return bool(made)

    def _begun(self, came: Incoming, on_step: OnStep | None, networks: Networks, peers: Peers) -> Update:
        """An update with these images, once they are found to fit; the same in all processes."""
        if not came.pools:
            raise ValueError("expected images of one shape, got none")
        shape = self.check_shapes(pool.shape for pool in came.pools.values())
        self.shares(came.counts, shape)
        self.check_scale(came.pools.values())
        space = self.standardization or Standardization.fit(came.pools.values())
        planned = self.mem_size or self.planned(came.sample(space))
        space, planned = agreed(peers, self._plan(came), (space, planned))
        about = self.reducer, self.fitted(shape), space, planned, self.seed, self.updates
        return Update(*about, on_step, networks, peers)

    def _plan(self, came: Incoming) -> tuple:
        """What processes that update equal memories alike have in common."""
        images = {task: pool.shape for task, pool in came.pools.items()}, came.counts
        made = self.updates, self.arrivals, self.counts
        reducer = repr(self.reducer).replace(f"device={self.config.machine.device!r}", "")
        return images, made, self.seed, reducer, self.codec, self.mem_size, self.mem_bytes, self.ipc
