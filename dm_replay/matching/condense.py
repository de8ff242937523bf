"""Distribution matching: condense a pool of real images into a few synthetic ones per class.

Each iteration draws a batch of real images of every class, one augmentation per class and one random network, and moves
the synthetic pixels so that their mean features approach those of the real images (DM, Zhao & Bilen, WACV 2023). All
classes go through one batched step.
"""

import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..augment.siamese import SiameseAugment
from ..condensed.image_set import ImageSet
from ..coresets.reducer import about_pool
from ..data.classes import EVERY, ClassShard
from ..data.pool import TensorPool
from ..runtime.distributed import ALONE, Peers
from ..runtime.engine import Engine
from ..runtime.hardware import cpu_by_default
from ..runtime.settings import flat
from ..runtime.stages import at, mapped
from .config import CondenseConfig
from .engine import Steps
from .extractors import TrainedNetworks
from .losses import prefix_weights
from .matcher import Matcher
from .prepared import Extractors, Prepared
from .progress import Expected, Progress, Schedule
from .rate_control import LOOKS, RateControl
from .real_batches import RealBatches
from .synthetic import LOOK, RealRange, SyntheticPixels, initial_pixels

__all__ = ["Condenser", "condense"]

FEATURES = 2048  # of the network that class_weight is given for: the matching loss is a sum over them, the other is not


@cpu_by_default
@torch.inference_mode(False)  # a caller's no_grad and inference_mode end here: gradients are needed
def condense(
    pool: TensorPool,
    config: CondenseConfig | None = None,
    *,
    seed: int = 0,
    classes: Iterable[int] | None = None,
    previous: ImageSet | None = None,
    on_step: Callable[[Progress], None] | None = None,
    state: dict[str, Any] | None = None,
    shard: slice = EVERY,
    network: nn.Module | None = None,
    peers: Peers = ALONE,
    extractors: Extractors | None = None,
) -> ImageSet:
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
            compiled. Since its gradients may be of any size, each class's is bounded to what those of our own networks
            are.
        peers: processes that condense other shards of the same classes: they share the training of extractors out.
        extractors: compiled networks of earlier pools of the same kind, to be used again; see :class:`Condenser`.

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
    >>> config = CondenseConfig.preset("paper", ipc=2, iterations=3, network="convnet:width=8")
    >>> condensed = condense(pool, config, seed=0)
    >>> condensed.images.shape, condensed.labels.tolist()
    (torch.Size([4, 3, 8, 8]), [0, 0, 1, 1])
    """
    began = time.perf_counter()
    job = Prepared.of(pool, config or CondenseConfig(), classes, previous, network, extractors or Extractors())
    config, group = job.config, job.shard(shard)
    stored = (len(group.mine), config.ipc, *config.codec.value_shape(job.pool.shape))
    if state is not None and tuple(state["pixels"].shape) != stored:
        raise ValueError(f"the state holds pixels {tuple(state['pixels'].shape)}, this condensation has {stored}")
    schedule = Schedule(config, float(state.get("seconds", 0.0)) if state else 0.0, began)
    iteration = 0 if state is None else int(state["iteration"])
    expected = Expected.of(job, len(group.mine), iteration)
    with mapped(lambda part: schedule.shown(expected.of_start(part))):
        start = initial_pixels(job.pool, group, job.previous, config, seed) if state is None else state["pixels"]
    real_range = RealRange.of(job.pool, config.codec)
    with mapped(lambda part: schedule.shown(expected.of_training(part))):
        trained = job.trained(seed, peers)
    matcher_on = _matcher(job, group, start, trained, real_range.gradient(config.ipc), seed)
    most = len(group.mine) * (config.batch_real + config.ipc * config.codec.images_per_stored)
    steps = Steps(matcher_on, job.engine, 1 if job.extractor.batch_statistics else most)
    if state is not None:
        steps.matcher.restore(state)
    about = {"config": flat(config), "seed": seed, **about_pool(job.pool)}
    labels = group.mine.repeat_interleave(config.ipc)

    def finish() -> ImageSet:
        values, counts = steps.matcher.synthetic.result.flatten(0, 1), steps.matcher.real.counts
        made = ImageSet.from_values(values, labels, config.codec, job.shape, counts, about)
        return made if config.bytes_per_class is None else made.within(config.bytes_per_class)

    def state_now() -> dict[str, Any]:
        return ({} if config.limit is None else {"seconds": schedule.seconds}) | steps.matcher.state()

    def images_now() -> Tensor:
        return steps.matcher.pixels.detach().flatten(0, 1).cpu().clone()

    with contextlib.closing(steps):
        part = before = schedule.progress(iteration)
        at("condensing", schedule.shown(expected.of_steps(0.0)))
        while part < 1:
            if (rate := steps.matcher.synthetic.rate) is not None and iteration % LOOKS == 0:
                rate.steer(steps.matcher.pixels)
            loss = steps.step(iteration, schedule.lr(part))
            if schedule.averages(part):
                steps.matcher.synthetic.average()
            iteration += 1
            part = schedule.progress(iteration)
            if iteration % LOOK == 0 or part >= 1:
                real_range.check(steps.matcher.pixels, loss, iteration, config.lr_img)
            at("condensing", schedule.shown(expected.of_steps((part - before) / (1 - before))))
            if on_step is not None:
                now = iteration, config.iterations, loss, part, steps.engine
                on_step(Progress(*now, images_now, state_now, finish))
    return finish()


@cpu_by_default
class Condenser:
    """Condenses one pool after another with the same compiled networks, which it lets go when it goes.

    :func:`condense` serves a single pool; a stream of experiences wants one of these. Not for several threads at once.
    """

    def __init__(self):
        self._extractors = Extractors()

    def condense(self, pool: TensorPool, config: CondenseConfig | None = None, **how: Any) -> ImageSet:
        """As :func:`condense`, which see."""
        return condense(pool, config, **how, extractors=self._extractors)

    @torch.inference_mode(False)
    def assist(
        self,
        pool: TensorPool,
        config: CondenseConfig,
        *,
        seed: int,
        classes: Iterable[int],
        previous: ImageSet | None,
        peers: Peers,
    ) -> None:
        """Take part in what ``peers`` do together that condense these classes without this process: the training of
        extractors."""
        Prepared.of(pool, config, classes, previous, None, self._extractors).trained(seed, peers)


def _matcher(
    job: Prepared, group: ClassShard, start: Tensor, trained: TrainedNetworks | None, bound: float, seed: int
) -> Callable[[Engine], Matcher]:
    """What makes the matcher of a condensation on an engine."""
    config, pool = job.config, job.placed(group.mine)
    nested = prefix_weights(config.ipc, config.prefix_weight, config.prefix_power)
    classes_told = trained is not None and len(job.classes) > 1

    def on(engine: Engine) -> Matcher:
        extractor = job.extractor if engine == job.engine else job.extractor_on(engine)
        pixels = start.to(engine.device, extractor.master, copy=True)
        coded = config.codec.bits(pixels[0, :1]) is not None
        synthetic = SyntheticPixels(
            pixels,
            codec=config.codec,
            size=job.pool.shape[1:],
            momentum=config.momentum,
            batch=config.batch_syn,
            prefix_weight=None if nested is None else nested.to(pixels),
            bound=None if job.pretrained is None else bound,
            rate=RateControl(pixels, config.codec, config.bytes_per_class, bound) if coded else None,
        )
        whole = extractor.batch_statistics
        return Matcher(
            RealBatches(pool, group, config.batch_real, job.previous, engine, seed=seed, whole=whole),
            extractor,
            synthetic,
            augment=SiameseAugment.parse(config.augment),
            engine=engine,
            seed=seed,
            inner_steps=config.inner_steps,
            trained=trained,
            class_weight=config.class_weight * extractor.features / FEATURES if classes_told else 0.0,
        )

    return on
