"""Distribution matching: condense a pool of real images into a few synthetic ones per class.

Each iteration draws a batch of real images of every class, one augmentation per class and one random network, and moves
the synthetic pixels so that their mean features approach those of the real images (DM, Zhao & Bilen, WACV 2023). All
classes go through one batched step.
"""

import contextlib
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ..augment.siamese import SiameseAugment
from ..condensed.condensed_set import STORAGES, CondensedSet
from ..data.pool import EVERY, TensorPool
from ..networks import parse
from ..runtime.engine import COMPILE, PRECISIONS, check_choices, choose
from ..runtime.seeding import generator
from .losses import prefix_weights
from .matcher import Matcher
from .real_batches import Teachers

__all__ = ["CondenseConfig", "Progress", "condense"]


@dataclass(frozen=True)
class CondenseConfig:
    """Settings of :func:`condense`; the defaults are the paper's.

    Args:
        ipc: synthetic images per class.
        iterations: updates of the pixels, each with a new random network.
        batch_real: real images of each class per iteration; where every class has fewer, all of them.
        lr_img: learning rate of the pixels. The paper takes 1; 10 for ipc ≥ 100 on CIFAR-10; 0.01 to 0.1 for
            networks with BatchNorm.
        momentum: of the pixels' SGD.
        init: "real" starts from random real images of the class, "noise" from Gaussian noise.
        network: the random embedding, e.g. "convnet" or "convnet:norm=batch,depth=4".
        augment: families of the Siamese augmentation joined by "_", or "none".
        nested: weight in the loss of the shorter prefixes of a class's images, beside 1 for their full number. Above
            0, the first k images of a class are themselves a condensed set. 0 is the paper's objective.
        nested_power: lets that weight fall with the length: nested · (k / ipc) ** nested_power.
        precision: of the real branch, which carries no gradient: "bfloat16", "float32" (the reference) or "auto". On a
            GPU float32 convolutions use TF32 where PyTorch is set to, as it is by default.
        compile: "yes", "no", or "auto" for where it earns back its half minute.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        storage: of the result: "float32", "float16" or "uint8".
        memory_budget: GiB of device memory for the activations of the gradient-free work, and likewise, at another
            time, of the work with a gradient. It bounds the images at a time; networks with BatchNorm need all at once.
    """

    ipc: int = 10
    iterations: int = 20_000
    batch_real: int = 256
    lr_img: float = 1.0
    momentum: float = 0.5
    init: str = "real"
    network: str = "convnet"
    augment: str = "color_crop_cutout_flip_scale_rotate"
    nested: float = 0.0
    nested_power: float = 0.0
    precision: str = "auto"
    compile: str = "auto"
    device: str = "auto"
    storage: str = "float32"
    memory_budget: float = 4.0

    def __post_init__(self):
        for name in ("ipc", "iterations", "batch_real"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)}")
        if not self.lr_img > 0 or not 0 <= self.momentum < 1:
            raise ValueError(f"expected lr_img > 0 and momentum in [0, 1), got {self.lr_img} and {self.momentum}")
        if not self.nested >= 0 or not self.nested_power >= 0:
            raise ValueError(f"expected nested and nested_power >= 0, got {self.nested} and {self.nested_power}")
        if not self.memory_budget > 0:
            raise ValueError(f"memory_budget must be above 0 GiB, got {self.memory_budget}")
        check_choices(self, init=("real", "noise"), precision=PRECISIONS, compile=COMPILE, storage=tuple(STORAGES))
        parse(self.network)
        SiameseAugment.parse(self.augment)


@dataclass(frozen=True)
class Progress:
    """What ``on_step`` is given after each update, valid until it returns. All but the counters wait for the device.

    Attributes:
        iteration: updates done so far, from 1. iterations: how many there will be.
        loss: 0-d tensor, the matching loss per class before the update.
    """

    iteration: int
    iterations: int
    loss: Tensor
    matcher: Matcher
    finish: Callable[[], CondensedSet]

    @property
    def images(self) -> Tensor:
        """The synthetic images as they are now: (N, C, H, W) float32, normalised, a copy on the CPU."""
        return self.matcher.pixels.detach().flatten(0, 1).cpu().clone()

    @property
    def state(self) -> dict[str, Tensor | int]:
        """What :func:`condense` takes as ``state`` to go on from here."""
        return {"iteration": self.iteration, **self.matcher.state()}

    def as_set(self) -> CondensedSet:
        """The condensed set as it is now."""
        return self.finish()


def condense(
    pool: TensorPool,
    config: CondenseConfig | None = None,
    *,
    seed: int = 0,
    classes: Iterable[int] | None = None,
    previous: CondensedSet | None = None,
    on_step: Callable[[Progress], None] | None = None,
    state: dict[str, Tensor | int] | None = None,
    share: slice | None = None,
) -> CondensedSet:
    """Condense the real images of a pool by distribution matching.

    Args:
        pool: the real images.
        classes: which of its classes; all by default.
        previous: a condensed set of classes that come again. A returning class is matched to the count-weighted mean
            of its new real images and its previous synthetic ones, so that it does not forget where it came from.
        on_step: called after every iteration.
        state: a :attr:`Progress.state`, to go on from there to the same pixels as an uninterrupted run.
        share: condense only these of the classes (positions in their sorted order), with the draws and networks that
            they have among all of them; so processes that share the classes out make what one alone would make.
            ValueError for networks with BatchNorm, whose statistics are over all classes.

    Returns:
        ``config.ipc`` images of every class (of the share), class by class, in the pool's normalised space.

    The same seed on the same device with the same library gives the same pixels.
    """
    config = config or CondenseConfig()
    chosen = pool.classes if classes is None else torch.as_tensor(list(classes)).long().unique()
    share = EVERY if share is None else share
    mine = _shared(chosen, share)
    _check_shapes(state, previous, (len(mine), config.ipc, *pool.shape))
    engine = _engine(pool, len(chosen), config)
    start = _initial_pixels(pool, chosen, share, previous, config, seed) if state is None else state["pixels"]
    teachers = Teachers.of(_placed(pool, mine, engine.device), chosen, config.batch_real, previous, share)
    matcher = Matcher(
        teachers,
        start,
        network=config.network,
        augment=SiameseAugment.parse(config.augment),
        engine=engine,
        lr=config.lr_img,
        momentum=config.momentum,
        weights=prefix_weights(config.ipc, config.nested, config.nested_power),
        seed=seed,
    )
    if len(mine) < len(chosen) and matcher.branches.student.batch_statistics:
        raise ValueError(
            f"the classes cannot be shared out: {config.network} has statistics over all of them; use one process"
        )
    if state is not None:
        matcher.restore(state)

    def finish() -> CondensedSet:
        return CondensedSet.pack(
            matcher.pixels.flatten(0, 1),
            mine.repeat_interleave(config.ipc),
            teachers.counts,
            {"config": asdict(config), "seed": seed, **_normalisation(pool)},
            config.storage,
        )

    done = 0 if state is None else int(state["iteration"])
    with contextlib.closing(matcher):
        for iteration in range(done, config.iterations):
            loss = matcher.step(iteration)
            if on_step is not None:
                on_step(Progress(iteration + 1, config.iterations, loss, matcher, finish))
    return finish()


def _shared(classes: Tensor, share: slice) -> Tensor:
    if len(classes) == 0:
        raise ValueError("expected at least one class, got none")
    if len(classes[share]) == 0:
        raise ValueError(f"no class for this process: {len(classes)} classes are too few for so many processes")
    return classes[share]


def _check_shapes(state: dict | None, previous: CondensedSet | None, shape: tuple[int, ...]) -> None:
    if state is not None and tuple(state["pixels"].shape) != shape:
        raise ValueError(f"the state holds pixels {tuple(state['pixels'].shape)}, this condensation has {shape}")
    if previous is not None and tuple(previous.pixels.shape[1:]) != shape[2:]:
        raise ValueError(f"the previous images are {tuple(previous.pixels.shape[1:])}, the real ones {shape[2:]}")


def _engine(pool: TensorPool, classes: int, config: CondenseConfig):
    images = config.iterations * classes * (config.batch_real + config.ipc)
    return choose(config.device, config.precision, config.compile, pool.shape[1:], images, config.memory_budget)


def _placed(pool: TensorPool, classes: Tensor, device: torch.device) -> TensorPool:
    """The pool with the pixels of these classes on the GPU, if those of all its classes take at most half its memory.

    What decides is the same in every run and on every process, since where pixels lie decides where draws are made.
    """
    if device.type != "cuda" or pool.mapped or pool.device == device:
        return pool
    size = len(pool) * math.prod(pool.shape) * pool.images.itemsize
    return pool.resident(classes, device) if size <= torch.cuda.get_device_properties(device).total_memory / 2 else pool


def _initial_pixels(
    pool: TensorPool, classes: Tensor, share: slice, previous: CondensedSet | None, config: CondenseConfig, seed: int
) -> Tensor:
    """(G, ipc, C, H, W) float32. A returning class with too few new images starts from its previous ones, too."""
    numbers = generator(seed, "init")
    if config.init == "noise":
        return torch.randn(len(classes), config.ipc, *pool.shape, generator=numbers)[share]
    drawn = pool.take(pool.rows_of(classes, share).draw(config.ipc, numbers))
    classes = classes[share]
    for group, have in enumerate(pool.counts_of(classes).tolist()):
        if have < config.ipc:
            label = int(classes[group])
            held = pool.take(torch.empty(0, dtype=torch.long)) if previous is None else previous.of(label).images
            if have + len(held) < config.ipc:
                raise ValueError(
                    f"class {label} has {have + len(held)} real images, fewer than ipc {config.ipc}: "
                    "lower ipc or start from noise (init=noise)"
                )
            drawn[group, have:] = held[: config.ipc - have].to(drawn.device)
    return drawn


def _normalisation(pool: TensorPool) -> dict[str, list]:
    known = {"mean": pool.mean, "std": pool.std, "names": pool.names}
    return {name: list(values) for name, values in known.items() if values is not None}
