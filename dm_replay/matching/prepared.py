"""All that a condensation needs before its first image is drawn."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from ..augment.siamese import SiameseAugment
from ..condensed.codec import Shape
from ..condensed.image_set import ImageSet
from ..data.classes import EVERY, ClassShard
from ..data.pool import TensorPool
from ..runtime.distributed import Peers
from ..runtime.engine import Engine
from .config import CondenseConfig
from .engine import activations_of, engine_for, note_whole_batches, verified_engine
from .extractors import Extractor, TrainedNetworks
from .trained_networks import Enlarged, PretrainedExtractor, as_trained, train_networks

__all__ = ["Extractors", "Prepared"]

TRAINING = 1 / 3  # of a run's seconds, at most, go into training networks


class Extractors:
    """Compiled networks, kept for the next pool of the same kind, so that a stream compiles once."""

    def __init__(self):
        self._kept: dict[tuple, Extractor] = {}

    def get(
        self,
        shape: Shape,
        classes: int,
        config: CondenseConfig,
        engine: Engine,
        pretrained: PretrainedExtractor | None = None,
    ) -> Extractor:
        """A pretrained network's is not kept."""
        augment = SiameseAugment.parse(config.augment)
        if pretrained is not None:
            return Extractor(copy.deepcopy(pretrained), shape, augment, engine, distance=config.distance)
        width = classes if config.extractors else 1
        key = (config.network, shape, config.augment, config.synthetic_precision, config.distance, width, engine)
        if key not in self._kept:
            mixed = config.synthetic_precision == "auto"
            self._kept[key] = Extractor(config.network, shape, augment, engine, width, mixed, config.distance)
        return self._kept[key]


@dataclass(frozen=True)
class Prepared:
    """What is condensed, from what, and on what it runs.

    Attributes:
        config: fitted to the images. pool: real ones at their working size. previous: of classes that come again.
        shape: of the images as they came. classes: all that are condensed. pretrained: the user's network, if any.
    """

    config: CondenseConfig
    pool: TensorPool
    previous: ImageSet | None
    shape: Shape
    classes: Tensor
    engine: Engine
    pretrained: PretrainedExtractor | None
    extractors: Extractors

    @classmethod
    def of(
        cls,
        pool: TensorPool,
        config: CondenseConfig,
        classes: Iterable[int] | None,
        previous: ImageSet | None,
        network: nn.Module | None,
        extractors: Extractors,
    ) -> "Prepared":
        """Raises ValueError for settings that the images do not allow."""
        config = config.resolve(pool.flip_invariant).fit(pool.shape)
        if network is not None:
            config = config.but(compile="no")  # it serves one condensation
        chosen = pool.classes if classes is None else torch.as_tensor(list(classes)).long().unique()
        shape = pool.shape
        pool, previous = _shrunk(pool, previous, chosen, config)
        if network is not None and shape != pool.shape:
            network = Enlarged(network, shape[1:], getattr(config.codec, "enlarging", "linear"))
        pretrained = None if network is None else PretrainedExtractor(network, pool.shape, chosen)
        activations = activations_of(pool, config, pretrained)
        engine = verified_engine(engine_for(pool, len(chosen), config, activations), pool, config)
        made = cls(config, pool, previous, shape, chosen, engine, pretrained, extractors)
        if made.extractor.batch_statistics:
            note_whole_batches(pool, len(chosen), config, activations, engine)
        return made

    @cached_property
    def extractor(self) -> Extractor:
        """On its engine."""
        return self.extractor_on(self.engine)

    def extractor_on(self, engine: Engine) -> Extractor:
        return self.extractors.get(self.pool.shape, len(self.classes), self.config, engine, self.pretrained)

    def shard(self, part: slice = EVERY) -> ClassShard:
        """These of the classes; ValueError where they cannot be made without the others."""
        group = ClassShard(self.classes, part)
        if self.extractor.batch_statistics and not group.whole:
            raise ValueError(f"the classes cannot be shared out: {self.config.network} has statistics over all of them")
        return group

    @property
    def trains(self) -> bool:
        """Whether networks are trained: not random ones, nor where there is but one class to tell from others."""
        return self.pretrained is None and self.config.extractors > 0 and len(self.classes) > 1

    def trained(self, seed: int, peers: Peers) -> TrainedNetworks | None:
        """The networks that extractors are mixed of; None for random ones. For all peers."""
        if self.pretrained is not None:
            return as_trained(self.extractor.network)
        if not self.trains:
            return None
        config = self.config
        seconds = math.inf if config.limit is None else TRAINING * config.limit
        many, steps = config.extractors, config.extractor_steps
        about = self.pool, self.classes, self.extractor, many, steps, seed, seconds, self.previous, peers
        return train_networks(*about)

    def placed(self, mine: Tensor) -> TensorPool:
        """The pool with the pixels of these classes on the GPU, if those of all its classes take at most half of it.

        What decides is the same in every run and on every process, since where pixels lie decides where draws are made.
        """
        pool, device = self.pool, self.engine.device
        if device.type != "cuda" or (pool.device == device and not pool.mapped):
            return pool
        size = len(pool) * math.prod(pool.shape) * pool.images.itemsize
        half = torch.cuda.get_device_properties(device).total_memory / 2
        return pool.resident(mine, device) if size <= half else pool


def _shrunk(
    pool: TensorPool, previous: ImageSet | None, classes: Tensor, config: CondenseConfig
) -> tuple[TensorPool, ImageSet | None]:
    """What classes are condensed from, at the size that is condensed."""
    working = config.codec.working_shape(pool.shape)
    if previous is not None and previous.shape != pool.shape:
        raise ValueError(f"the previous images are {previous.shape}, the real ones {pool.shape}")
    if pool.shape == working:
        return pool, previous
    small = pool.select(pool.of_classes(classes)).shrunk(*working[1:])
    return small, None if previous is None else replace(previous, shape=working)
