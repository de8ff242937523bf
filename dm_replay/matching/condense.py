"""Distribution matching: condense a pool of real images into a few synthetic ones per class.

Each iteration draws a batch of real images of every class, one augmentation per class and one random network, and moves
the synthetic pixels so that their mean features approach those of the real images (DM, Zhao & Bilen, WACV 2023). All
classes go through one batched step.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..augment.siamese import SiameseAugment
from ..condensed.condensed_set import CondensedSet
from ..condensed.decoder import Decoder
from ..condensed.quantize import check_storage
from ..coresets.random import about_pool
from ..data.class_index import EVERY, ClassShard
from ..data.pool import TensorPool
from ..runtime.distributed import ALONE, Peers
from ..runtime.engine import Engine, cpu_by_default
from ..runtime.stages import at, mapped
from . import self_check
from .bounds import LOOK, RealRange
from .budget import activations_of, engine_for, note_whole_batches
from .config import CondenseConfig
from .expected import Expected
from .extractors import Extractor, TrainedNetworks
from .initial import initial_pixels
from .losses import prefix_weights
from .matcher import Matcher
from .pretrained import Enlarged, PretrainedExtractor, as_trained
from .real_batches import RealBatches
from .schedule import Schedule
from .steps import Steps
from .synthetic import SyntheticPixels
from .trained_networks import train_networks

__all__ = ["Condenser", "Progress", "condense"]

FEATURES = 2048  # of the network that class_weight is given for: the matching loss is a sum over them, the other is not
TRAINING = 1 / 3  # of a run's seconds, at most, go into training networks


@dataclass(frozen=True)
class Progress:
    """What ``on_step`` is given after each update, valid until it returns. All but the counters wait for the device.

    Attributes:
        iteration: updates done so far, from 1. iterations: how many there will be.
        loss: 0-d tensor, the matching loss per class before the update.
        part: of the run that is over, in [0, 1].
    """

    iteration: int
    iterations: int
    loss: Tensor
    part: float
    matcher: Matcher
    schedule: Schedule
    finish: Callable[[], CondensedSet]

    @property
    def images(self) -> Tensor:
        """The stored images as they are now: (N, C, H, W) float32, normalized, a copy on the CPU."""
        return self.matcher.pixels.detach().flatten(0, 1).cpu().clone()

    @property
    def state(self) -> dict[str, Any]:
        """What :func:`condense` takes as ``state`` to go on from here."""
        timed = self.schedule.config.limit is not None
        seconds = {"seconds": self.schedule.seconds} if timed else {}
        return {"iteration": self.iteration, **seconds, **self.matcher.state()}

    def as_set(self) -> CondensedSet:
        """The condensed set as it is now."""
        return self.finish()


@cpu_by_default
class Condenser:
    """Condenses one pool after another with the same compiled networks, which it lets go when it goes.

    :func:`condense` serves a single pool; a stream of experiences wants one of these. Not for several threads at once.
    """

    def __init__(self):
        self._extractors: dict[tuple, Extractor] = {}

    @torch.inference_mode(False)  # a caller's no_grad and inference_mode end here: gradients are needed
    def condense(
        self,
        pool: TensorPool,
        config: CondenseConfig | None = None,
        *,
        seed: int = 0,
        classes: Iterable[int] | None = None,
        previous: CondensedSet | None = None,
        on_step: Callable[[Progress], None] | None = None,
        state: dict[str, Any] | None = None,
        shard: slice = EVERY,
        network: nn.Module | None = None,
        peers: Peers = ALONE,
    ) -> CondensedSet:
        """As :func:`condense`, which see."""
        config = (config or CondenseConfig()).resolve(pool.flip_invariant).sized(pool.shape)
        if network is not None:
            config = replace(config, compile="no")  # it serves one condensation
        schedule = Schedule(config, float(state.get("seconds", 0.0)) if state else 0.0)
        chosen = pool.classes if classes is None else torch.as_tensor(list(classes)).long().unique()
        group = ClassShard(chosen, shard)
        decoder = config.decoder(pool.shape[0])
        size = pool.shape[1:]
        pool, previous = _shrunk(pool, previous, chosen, config)
        if network is not None and size != pool.shape[1:]:
            network = Enlarged(network, size, config.enlarging)
        decoder.check(pool.shape)
        check_storage(config.storage, pool.shape[2])
        _check_state(state, (len(group.mine), config.ipc, *decoder.stored_shape(pool.shape)))
        borrowed = None if network is None else PretrainedExtractor(network, pool.shape, chosen)
        activations = activations_of(pool, config, borrowed)
        engine = self_check.verified_engine(engine_for(pool, len(chosen), config, activations), pool, config)
        extractor = self._extractor(pool.shape, len(chosen), config, engine, borrowed)
        whole = extractor.batch_statistics
        if whole:
            note_whole_batches(pool, len(chosen), config, activations, engine)
        if whole and not group.whole:
            raise ValueError(f"the classes cannot be shared out: {config.network} has statistics over all of them")
        iteration, trains = 0 if state is None else int(state["iteration"]), borrowed is None and len(chosen) > 1
        pixels = pool.shape[1] * pool.shape[2]
        expected = Expected.of(config, engine, pixels, len(group.mine), decoder.tiles, iteration, trains)
        with mapped(lambda part: schedule.shown(expected.of_start(part))):
            start = initial_pixels(pool, group, previous, config, seed) if state is None else state["pixels"]
        placed = _placed(pool, group.mine, engine.device)
        real_range = RealRange.of(pool)
        bound = None if borrowed is None else real_range.gradient(config.ipc)
        with mapped(lambda part: schedule.shown(expected.of_training(part))):
            if borrowed is None:
                trained = _trained(pool, chosen, previous, extractor, config, seed, peers)
            else:
                trained = as_trained(extractor.network)

        class_weight = config.class_weight * extractor.features / FEATURES

        def matcher_on(engine: Engine) -> Matcher:
            extractor = self._extractor(pool.shape, len(chosen), config, engine, borrowed)
            return Matcher(
                RealBatches(placed, group, config.batch_real, previous, engine, seed=seed, whole=whole),
                extractor,
                _synthetic(start, config, decoder, extractor, bound),
                augment=SiameseAugment.parse(config.augment),
                engine=engine,
                seed=seed,
                inner_steps=config.inner_steps,
                trained=trained,
                class_weight=0.0 if trained is None or len(chosen) == 1 else class_weight,
            )

        most = 1 if whole else len(group.mine) * (config.batch_real + config.ipc * config.formation**2)
        steps = Steps(matcher_on, engine, most)
        if state is not None:
            steps.matcher.restore(state)
        about = {"config": asdict(config), "seed": seed, **about_pool(pool)}
        labels = group.mine.repeat_interleave(config.ipc)

        def finish() -> CondensedSet:
            matcher, images = steps.matcher, steps.matcher.synthetic.result.flatten(0, 1)
            as_stored = config.storage, decoder.formation, decoder.color, decoder.enlarging
            return CondensedSet.from_images(images, labels, matcher.real.counts, about, *as_stored).decoded_to(*size)

        with contextlib.closing(steps):
            part = before = schedule.progress(iteration)
            at("condensing", schedule.shown(expected.of_steps(0.0)))
            while part < 1:
                loss = steps.step(iteration, schedule.lr(part))
                if schedule.averages(part):
                    steps.matcher.synthetic.average()
                iteration += 1
                part = schedule.progress(iteration)
                if iteration % LOOK == 0 or part >= 1:
                    real_range.check(steps.matcher.pixels, loss, iteration, config.lr_img)
                at("condensing", schedule.shown(expected.of_steps((part - before) / (1 - before))))
                if on_step is not None:
                    on_step(Progress(iteration, config.iterations, loss, part, steps.matcher, schedule, finish))
        return finish()

    @torch.inference_mode(False)
    def assist(
        self,
        pool: TensorPool,
        config: CondenseConfig,
        *,
        seed: int,
        classes: Iterable[int],
        previous: CondensedSet | None,
        peers: Peers,
    ) -> None:
        """Take part in what ``peers`` do together that condense these classes without this process: the training of
        extractors."""
        config = config.resolve(pool.flip_invariant).sized(pool.shape)
        chosen = torch.as_tensor(list(classes)).long().unique()
        pool, previous = _shrunk(pool, previous, chosen, config)
        engine = engine_for(pool, len(chosen), config, activations_of(pool, config, None))
        engine = self_check.verified_engine(engine, pool, config)
        extractor = self._extractor(pool.shape, len(chosen), config, engine)
        _trained(pool, chosen, previous, extractor, config, seed, peers)

    def _extractor(
        self,
        shape: tuple[int, int, int],
        classes: int,
        config: CondenseConfig,
        engine: Engine,
        borrowed: PretrainedExtractor | None = None,
    ) -> Extractor:
        """Kept from the last pools of the same kind, so that a stream compiles once; not so a borrowed network's."""
        if borrowed is not None:
            augment = SiameseAugment.parse(config.augment)
            return Extractor(copy.deepcopy(borrowed), shape, augment, engine, distance=config.distance)
        width = classes if config.extractors else 1
        key = (config.network, shape, config.augment, config.synthetic_precision, config.distance, width, engine)
        if key not in self._extractors:
            augment, mixed = SiameseAugment.parse(config.augment), config.synthetic_precision == "auto"
            self._extractors[key] = Extractor(config.network, shape, augment, engine, width, mixed, config.distance)
        return self._extractors[key]


def condense(
    pool: TensorPool,
    config: CondenseConfig | None = None,
    *,
    seed: int = 0,
    classes: Iterable[int] | None = None,
    previous: CondensedSet | None = None,
    on_step: Callable[[Progress], None] | None = None,
    state: dict[str, Any] | None = None,
    shard: slice = EVERY,
    network: nn.Module | None = None,
    peers: Peers = ALONE,
) -> CondensedSet:
    """Condense the real images of a pool by distribution matching.

    Args:
        pool: the real images.
        seed: of everything random.
        classes: which of the pool's classes; all by default.
        previous: a condensed set of classes that come again. A returning class is condensed from both: it starts from
            its previous images and from new real ones, is matched to the mean of both, and trains the extractors with
            both, each by the number of real images that it stands for. So it does not forget what it was.
        on_step: called with a :class:`Progress` after every iteration.
        state: a :attr:`Progress.state`, to go on from there to the same pixels as an uninterrupted run.
        shard: condense only these of the classes (positions in their sorted order), with the draws and networks that
            they have among all of them; so processes that share the classes out make what one alone would make.
            ValueError for networks with BatchNorm, whose statistics are over all classes.
        network: a network that is trained already, normalized images (N, C, H, W) -> logits (N, L) by class number, as
            the only embedding and for the class term; see :class:`PretrainedExtractor`. It is copied, and never
            compiled. Since
            its gradients may be of any size, each class's is bounded to what those of our own networks are.
        peers: processes that condense other shards of the same classes: they share the training of extractors out.

    Returns:
        ``config.ipc`` stored images of every class (of the shard), class by class, in the pool's normalized space.

    The same seed on the same device with the same library gives the same pixels, unless seconds bound the run.

    Raises:
        ValueError: for classes without images, a class with fewer real images than ``ipc``, a ``previous`` or
            ``state`` of other shapes, a loss that does not stay finite, or pixels that go far outside the real ones.

    >>> import torch
    >>> from dm_replay import CondenseConfig, TensorPool, condense
    >>> images = torch.randint(0, 256, (40, 3, 8, 8), dtype=torch.uint8)
    >>> pool = TensorPool(images, labels=[0, 1] * 20)
    >>> condensed = condense(pool, CondenseConfig(ipc=2, iterations=3, network="convnet:width=8"), seed=0)
    >>> condensed.images.shape, condensed.labels.tolist()
    (torch.Size([4, 3, 8, 8]), [0, 0, 1, 1])
    """
    return Condenser().condense(
        pool,
        config,
        seed=seed,
        classes=classes,
        previous=previous,
        on_step=on_step,
        state=state,
        shard=shard,
        network=network,
        peers=peers,
    )


def _shrunk(
    pool: TensorPool, previous: CondensedSet | None, classes: Tensor, config: CondenseConfig
) -> tuple[TensorPool, CondensedSet | None]:
    """What classes are condensed from, at the size that is condensed."""
    _, height, width = config.condensed_shape(pool.shape)
    if previous is not None and previous.shape != pool.shape:
        raise ValueError(f"the previous images are {previous.shape}, the real ones {pool.shape}")
    if pool.shape[1:] == (height, width):
        return pool, previous
    small = pool.select(pool.of_classes(classes)).shrunk(height, width)
    return small, None if previous is None else previous.decoded_to(height, width)


def _check_state(state: dict | None, stored: tuple[int, ...]) -> None:
    if state is not None and tuple(state["pixels"].shape) != stored:
        raise ValueError(f"the state holds pixels {tuple(state['pixels'].shape)}, this condensation has {stored}")


def _placed(pool: TensorPool, classes: Tensor, device: torch.device) -> TensorPool:
    """The pool with the pixels of these classes on the GPU, if those of all its classes take at most half its memory.

    What decides is the same in every run and on every process, since where pixels lie decides where draws are made.
    """
    if device.type != "cuda" or (pool.device == device and not pool.mapped):
        return pool
    size = len(pool) * math.prod(pool.shape) * pool.images.itemsize
    return pool.resident(classes, device) if size <= torch.cuda.get_device_properties(device).total_memory / 2 else pool


def _synthetic(
    start: Tensor, config: CondenseConfig, decoder: Decoder, extractor: Extractor, bound: float | None
) -> SyntheticPixels:
    pixels = start.to(extractor.engine.device, extractor.master, copy=True)
    nested = prefix_weights(config.ipc, config.prefix_weight, config.prefix_power)
    return SyntheticPixels(
        pixels,
        decoder=decoder,
        momentum=config.momentum,
        batch=config.batch_syn,
        prefix_weight=None if nested is None else nested.to(pixels),
        bound=bound,
    )


def _trained(
    pool: TensorPool,
    classes: Tensor,
    previous: CondensedSet | None,
    extractor: Extractor,
    config: CondenseConfig,
    seed: int,
    peers: Peers,
) -> TrainedNetworks | None:
    """None for random networks, and where there is but one class to tell from others."""
    if config.extractors == 0 or len(classes) < 2:
        return None
    seconds = math.inf if config.limit is None else TRAINING * config.limit
    many, steps = config.extractors, config.extractor_steps
    return train_networks(pool, classes, extractor, many, steps, seed, seconds, previous, peers)
