"""DMReplayPlugin: Avalanche's ReplayPlugin with a memory of condensed images."""

from typing import Any

import torch
from avalanche.distributed import DistributedHelper
from avalanche.training.plugins import ReplayPlugin
from torch import Tensor, nn

from ..augment.siamese import CropFlip, SiameseAugment
from ..replay.loader import Batches, ReplayLoader, Transform, check_transform
from ..runtime.distributed import Peers
from ..runtime.seeding import derive
from ..runtime.settings import fraction, whole_number
from .experience import READ_BATCH, as_pool, check_train_size, inspect, some_images
from .mini_batches import TensorLoader, check_neighbours, check_not_made, name_those_behind, shared_among_processes
from .storage_policy import CondensedBuffer

__all__ = ["DMReplayPlugin"]


class DMReplayPlugin(ReplayPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """Replays condensed images: ``DMReplayPlugin(mem_size=200)`` for ``ReplayPlugin(mem_size=200)``.

    After each experience its classes are condensed into the memory. From the second one on, each mini-batch of the
    strategy's loader is followed by ``batch_size_mem`` condensed images, augmented anew.

    Condensing an experience of ten classes of 500 images (3, 32, 32) takes two CPU cores about a minute: the default of
    200 iterations would take several, so that they end after ``patience=60`` seconds. Iterations that were asked for,
    ``DMReplayPlugin(200, iterations=200)``, are all made, and repeatable. ``kind="herding"`` takes a few seconds.

    Of several processes, once Avalanche's ``DistributedHelper.init_distributed`` has been called in each and its
    ``wrap_model`` on the network, each condenses some of the classes and all end with the same memory, which is that of
    one process; each is given its part of the current images and other condensed ones. What fails in one fails in all.

    Args:
        mem_size: condensed images in all, 200 by default.
        mem_bytes: bytes in all, instead: as many images as they come to, stored as small as it pays. Labels apart.
        batch_size: of the current data; the strategy's by default.
        batch_size_mem: condensed images in each mini-batch; the strategy's batch size by default.
        task_balanced_dataloader: whether the tasks share ``batch_size_mem`` equally.
        storage_policy: a :class:`CondensedBuffer` of that size, instead of ``settings``.
        augment_replay: whether condensed images are augmented by the families of ``augment``.
        transform: of replayed images, once they are augmented: a function of those of a mini-batch, (M, C, H, W)
            float32 in the stream's values on the strategy's device, that gives as many; random numbers are its own
            affair. Like the rest of the plugin it is written into checkpoints.
        current_augment: how the current images are augmented, "none", "flip", "crop4" or "crop4_flip" (any number
            of pixels):
            they are read once, as the eval transforms give them, and each mini-batch is made of tensors on the
            strategy's device instead of by train transforms, image by image. Crops are padded with the darkest value
            that each channel has had, and the tasks of an experience of several are not balanced. By default the
            strategy's own loader.
        match_resolution: the part of the current images, 0 to 1, that is made as rough as the memory's are, once there
            is a memory: shrunk and enlarged, or rounded as they would be stored. None where it keeps images at
            full resolution. Else a network can tell old classes from new ones by that.
        settings: of the :class:`CondensedBuffer`: ``iterations`` (200 by default; on a GPU take
            2,000 to 20,000), ``ipc``, ``seed``, ``progress``, ``device``, ``augment`` or any other
            field of :class:`CondenseConfig`, or a whole ``config``; or a ``memory`` to begin with, instead, of which
            the first experience is replayed beside images already.

    Raises:
        ValueError: for a size below 1, a bad setting, or a ``storage_policy`` that does not go with the rest.

    >>> import torch
    >>> from avalanche.training.supervised import Naive
    >>> from dm_replay import DMReplayPlugin
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> plugin = DMReplayPlugin(mem_size=200, iterations=1000)
    >>> strategy = Naive(model=model, optimizer=optimizer, plugins=[plugin], evaluator=None)
    """

    def __init__(
        self,
        mem_size: int | None = None,
        batch_size: int | None = None,
        batch_size_mem: int | None = None,
        task_balanced_dataloader: bool = False,
        storage_policy: CondensedBuffer | None = None,
        *,
        mem_bytes: int | None = None,
        augment_replay: bool = True,
        transform: Transform | None = None,
        current_augment: str | None = None,
        match_resolution: float = 0.5,
        **settings: Any,
    ):
        sizes = {"batch_size": batch_size, "batch_size_mem": batch_size_mem}
        own = [None if size is None else whole_number(name, size, 1) for name, size in sizes.items()]
        if mem_size is None and mem_bytes is None and settings.get("memory") is None:
            mem_size = 200
        if storage_policy is None:
            storage_policy = CondensedBuffer(mem_size, mem_bytes=mem_bytes, **settings)
        elif settings:
            raise ValueError(f"storage_policy brings its own settings, got also {', '.join(settings)}")
        elif not isinstance(storage_policy, CondensedBuffer):
            kind = type(storage_policy).__name__
            raise ValueError(f"storage_policy must be a CondensedBuffer, got a {kind}")
        elif storage_policy.max_size not in (mem_size, mem_bytes):
            raise ValueError(f"mem_size {mem_size or mem_bytes} is not the storage_policy's {storage_policy.max_size}")
        super().__init__(storage_policy.max_size, *own, task_balanced_dataloader, storage_policy)
        self.augment_replay, self.match_resolution = augment_replay, fraction("match_resolution", match_resolution)
        if transform is not None and not callable(transform):
            raise ValueError(f"transform must be a function of images (M, C, H, W), got {transform!r}")
        self.transform = transform
        self.current_augment = None if current_augment is None else CropFlip.parse(current_augment)
        self._black: Tensor | None = None
        self._untried: ReplayLoader | None = None  # of an experience, no mini-batch of which has been seen
        self._loaders = self._experiences = 0

    def fill(
        self, dataset: Any, task: int | None = None, num_workers: int = 0, *, model: nn.Module | None = None
    ) -> None:
        """Condense old data into the memory before training, so that the first experience is replayed beside already.

        See :meth:`CondensedBuffer.fill`.
        """
        self.storage_policy.fill(dataset, task, num_workers, model=model)

    def before_training(self, strategy, **kwargs) -> None:
        self._experiences = 0

    def before_training_exp(self, strategy, *args, shuffle: bool = True, **kwargs) -> None:
        """Let condensed images follow the current data; raise if the new ones cannot be condensed or will not fit.

        Where another plugin's mini-batches would be thrown away, or would take the place of these, it raises, too.
        """
        check_neighbours(strategy, self, self._anew)
        self.storage_policy.begin(strategy)
        with Peers.of_job().together():
            self._look(strategy.experience, kwargs.get("num_workers", 0))
            if self._anew:
                check_not_made(strategy, self, self._anew, shuffle=shuffle, **kwargs)
            if self.transform is not None:
                check_transform(self.transform, inspect(strategy.experience.dataset)[0], strategy.device)
            if self.current_augment is not None or len(self.storage_policy.memory):
                strategy.dataloader = self._current(strategy, shuffle=shuffle, **kwargs)
            if len(self.storage_policy.memory):
                strategy.dataloader = self._replaying(strategy.dataloader, strategy, shuffle)
                self._untried = strategy.dataloader

    def before_training_iteration(self, strategy, **kwargs) -> None:
        """Before anything is trained: see that these mini-batches are still the strategy's.

        Raises:
            ValueError: if another plugin's have taken their place.
        """
        loader, self._untried = self._untried, None
        if loader is not None and not loader.batches:
            others = name_those_behind(strategy, self)
            raise ValueError(f"a plugin behind {type(self).__name__} ({others}) threw its replay away: put it before")

    def after_training_exp(self, strategy, **kwargs) -> None:
        self._untried = None
        super().after_training_exp(strategy, **kwargs)
        self._experiences += 1

    def after_training(self, strategy, **kwargs) -> None:
        """Condense the rest of an online stream, unless ``train`` is called for each part of it."""
        if self._experiences > 1:
            self.storage_policy.flush()
        self.storage_policy.done()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_untried": None}

    @property
    def _anew(self) -> str | None:
        """The argument by which mini-batches of current images are made here, if any is."""
        if self.current_augment is not None:
            return "current_augment="
        return None if self.batch_size is None else "batch_size="

    def _look(self, experience, num_workers: int) -> None:
        """Raise if images differ in size, or in scale from those of the memory; all that are read anyway are seen."""
        policy, dataset = self.storage_policy, experience.dataset
        if self.current_augment is not None:
            images = policy.read_ahead(experience, num_workers).images
        elif len(dataset) <= READ_BATCH:
            images = policy.read_ahead(experience).images
        else:
            images = some_images(dataset)
        policy.memory.check_scale([as_pool(images, torch.zeros(len(images)).long())])
        if self.current_augment is None:
            check_train_size(dataset, images.shape[1:])

    def _current(self, strategy, **kwargs) -> Batches:
        """The strategy's own loader, made anew if this plugin has its own ``batch_size``; or one of tensors."""
        if self.current_augment is not None:
            return self._of_tensors(self.current_augment, strategy, **kwargs)
        if self.batch_size is not None:
            usual, strategy.train_mb_size = strategy.train_mb_size, self.batch_size
            try:
                strategy.make_train_dataloader(**kwargs)
            finally:
                strategy.train_mb_size = usual
        if DistributedHelper.is_distributed:
            return shared_among_processes(strategy.dataloader, self._seed("data", strategy))
        return strategy.dataloader

    def _seed(self, role: str, strategy) -> int:
        return derive(self.storage_policy.memory.seed, role, strategy.clock.train_iterations)

    def _of_tensors(
        self, augment: CropFlip, strategy, shuffle: bool, num_workers: int = 0, drop_last: bool = False, **_
    ) -> TensorLoader:
        if DistributedHelper.is_distributed:
            raise ValueError("current_augment= makes the mini-batches of a single process, and there are several")
        real = self.storage_policy.read_ahead(strategy.experience, num_workers)
        darkest = real.images.amin((0, 2, 3))
        self._black = darkest if self._black is None else torch.minimum(self._black, darkest)
        own = self.batch_size if len(self.storage_policy.memory) else None
        return TensorLoader(
            real.images,
            real.labels,
            None if real.form.tasks == "none" else real.tasks,
            batch_size=own or strategy.train_mb_size,
            augment=augment,
            black=self._black,
            pixel=real.form.pixel,
            device=strategy.device,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=self._seed("current", strategy),
        )

    def _replaying(self, data: Batches, strategy, shuffle: bool) -> ReplayLoader:
        memory = self.storage_policy.memory
        self._loaders += 1
        images, tasks = memory.to_set()
        return ReplayLoader(
            data,
            images,
            tasks,
            self.batch_size_mem or strategy.train_mb_size,
            augment=SiameseAugment.parse(memory.config.augment) if self.augment_replay else None,
            transform=self.transform,
            device=strategy.device,
            seed=derive(memory.seed, "replay", self._loaders, DistributedHelper.rank),
            shuffle=shuffle,
            task_balanced=self.task_balanced_dataloader,
            match_resolution=self.match_resolution,
        )
