"""The synthetic pixels while they are condensed: what they start from, SGD, bounds and the mean of its tail."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..condensed.codec import Codec
from ..condensed.image_set import ImageSet
from ..condensed.tiles import PLAIN
from ..coresets.real import herded, random_embedding
from ..coresets.returning import joined, new_among
from ..data.classes import ClassShard
from ..data.pixels import averaged
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from ..runtime.stages import counted
from .config import CondenseConfig
from .rate_control import RateControl

__all__ = ["RealRange", "SyntheticPixels", "at_most", "initial_pixels", "values_as"]

CANDIDATES = 4  # for each herded image, random real ones that it is chosen from
FEWEST = 250  # of a class


def initial_pixels(
    pool: TensorPool, group: ClassShard, previous: ImageSet | None, config: CondenseConfig, seed: int
) -> Tensor:
    """(G, ipc, …) float32 as the codec encodes them, of real images of each class.

    A returning class keeps of its previous images the part that :func:`new_among` leaves them. Where stored images are
    no training images a class with too few real ones repeats them.
    """
    generator, codec = new_generator(seed, "init"), config.codec
    if config.init == "noise":
        shape = codec.value_shape(pool.shape)
        return group.take(torch.randn(len(group.classes), config.ipc, *shape, generator=generator))
    each = codec.images_per_stored
    rows = _rows(pool, group, config.ipc * each, config, generator, seed)
    start, have = [], pool.index.counts_of(group.mine).tolist()
    for number, label in enumerate(group.mine.tolist()):
        new = new_among(config.ipc, each, label, have[number], previous, seed)
        if codec.plain and new > have[number]:
            held = config.ipc - new
            raise ValueError(
                f"class {label} has {have[number] + held} real images, fewer than ipc {config.ipc}: "
                "lower ipc or start from noise (init=noise)"
            )
        values = codec.encode(pool.take(rows[number]).cpu())  # class by class: tiles take several times their room
        if new < config.ipc * each and previous is not None:
            values = joined(values, values_as(previous.of_class(label), codec), new, codec)
        start.append(values)
    return torch.stack(start)


def _rows(
    pool: TensorPool, group: ClassShard, each: int, config: CondenseConfig, generator: torch.Generator, seed: int
) -> Tensor:
    """(G, each) rows of the pool."""
    rows = pool.rows_of(group)
    if config.init == "real":
        return rows.draw(each, generator)
    embed = random_embedding(pool, config.network, seed, config.machine.memory_budget)
    candidates = rows.draw(max(FEWEST, CANDIDATES * each), generator)
    return torch.stack(
        [
            herded(pool, of_class.unique(), each, embed)
            for of_class in counted("choosing images", candidates, len(candidates))
        ]
    )


def values_as(held: ImageSet, codec: Codec) -> Tensor:
    """(K, …) values of these images as another codec encodes them, at its own working size."""
    if held.affine is None and codec.stored_as(held.storage) == held.codec:
        return held.values
    images = averaged(held.images, codec.working_shape(held.shape)[1:])
    stored = -(-len(images) // codec.images_per_stored)
    return codec.encode(images[torch.arange(stored * codec.images_per_stored) % len(images)])


SAMPLE = 64  # images, whose range and deviation are enough for bounds of an order of magnitude
LOOK = 50  # iterations; looking at the pixels waits for the device
FAR = 50  # times the range of real images; from noise, in a network of one layer, pixels rightly reached 33 times
# Root mean square of a class's gradient, times its images, in deviations of the real ones. With our own networks it was
# 0.03 to 0.5 (digits, 4 and 20 images a class, presets "paper" and "fast"); with torchvision's resnet18 1,300.
GRADIENT = 0.5


@dataclass(frozen=True)
class RealRange:
    """Where real images lie, as normalized.

    Attributes:
        low, high: the least and the greatest value that they are encoded as. deviation: of all pixels.
    """

    low: float
    high: float
    deviation: float

    @classmethod
    def of(cls, pool: TensorPool, codec: Codec = PLAIN) -> "RealRange":
        """By a sample, spread evenly over the pool."""
        rows = torch.linspace(0, len(pool) - 1, min(len(pool), SAMPLE), dtype=torch.float64).long()
        images, each = pool.take(rows).cpu().float(), codec.images_per_stored
        values = codec.encode(images[torch.arange(-(-len(images) // each) * each) % len(images)])
        return cls(float(values.amin()), float(values.amax()), float(images.std(correction=0)))

    def gradient(self, ipc: int) -> float:
        """The most that a class's gradient to its ``ipc`` images may be, as a root mean square over its pixels."""
        return GRADIENT * (self.deviation or 1.0) / ipc

    def check(self, pixels: Tensor, loss: Tensor, iteration: int, lr: float) -> None:
        """ValueError for a loss that is not finite, or pixels far outside the range."""
        least, greatest, last = torch.stack([pixels.amin(), pixels.amax(), loss.to(pixels)]).tolist()
        reached, width = max(-least, greatest), max(self.high - self.low, abs(self.low), abs(self.high))
        if not -torch.inf < last + least + greatest < torch.inf:
            raise ValueError(f"the loss became {last:g} within {iteration} iterations: lower lr_img, now {lr:g}")
        if reached > FAR * (width or 1.0):
            raise ValueError(
                f"pixels reached {reached:.3g} within {iteration} iterations, where real images lie between "
                f"{self.low:.3g} and {self.high:.3g}: lower lr_img, now {lr:g}"
            )


def at_most(gradient: Tensor, bound: float) -> Tensor:
    """(G, ipc, …) with each class's scaled down to a root mean square of at most ``bound``.

    >>> import torch
    >>> from dm_replay.matching.synthetic import at_most
    >>> at_most(torch.tensor([[[3.0]], [[0.5]]]), 1.0).flatten().tolist()
    [1.0, 0.5]
    """
    sizes = gradient.flatten(1).double().square().mean(1).sqrt().to(gradient)  # large values have no square in float32
    return gradient * (bound / sizes.clamp_min(bound)).view(-1, *[1] * (gradient.ndim - 1))


class SyntheticPixels:
    """Stored pixels on their way, in place, so that a step can be captured.

    Args:
        pixels: (G, ipc, …) to start from. codec: what training images they stand for. size: (H, W) of these.
        momentum: of the SGD. batch: training images of each class per update; 0 for all of them.
        prefix_weight: weights (ipc,) of the prefixes of a class's images, None where only their full number counts.
            Where a part is drawn, it is drawn from a prefix, chosen by these weights.
        bound: of each class's gradient, see :func:`at_most`; None takes it as it is.
        rate: keeps them within their bytes, where these depend on the values.
    """

    def __init__(
        self,
        pixels: Tensor,
        *,
        codec: Codec,
        size: tuple[int, int],
        momentum: float,
        batch: int,
        prefix_weight: Tensor | None,
        bound: float | None = None,
        rate: RateControl | None = None,
    ):
        self.pixels, self.codec, self.size, self.momentum, self.bound = pixels, codec, size, momentum, bound
        self.rate = rate
        self.velocity = torch.zeros_like(pixels)
        self.total, self.averaged = torch.zeros_like(pixels), 0
        self.each = pixels.shape[1] * codec.images_per_stored
        self.batch = batch if 0 < batch < self.each else 0
        self.lr = torch.ones((), device=pixels.device, dtype=pixels.dtype)
        self.prefix_weight = prefix_weight
        self._choices = (
            None if prefix_weight is None else (prefix_weight.flip(0).cumsum(0) / prefix_weight.sum())[:-1].contiguous()
        )

    @property
    def rows(self) -> int:
        """Training images of each class in an update."""
        return self.batch or self.each

    def draw(self, classes: int, generator: torch.Generator) -> Tensor | None:
        """Numbers of the training images of each class in an update, (A, batch); None for all."""
        if not self.batch:
            return None
        device = generator.device
        keys = torch.rand(classes, self.each, generator=generator, device=device)
        if self._choices is None:
            return keys.topk(self.batch, sorted=False).indices
        chosen = torch.rand(classes, generator=generator, device=device)
        shorter = (chosen[:, None] >= self._choices.to(device)).sum(1)
        length = (self.pixels.shape[1] - shorter)[:, None] * self.codec.images_per_stored
        keys = keys.masked_fill(torch.arange(self.each, device=device) >= length, -1.0)
        turns = torch.arange(self.batch, device=device) % length
        return keys.topk(self.batch, sorted=True).indices.gather(1, turns)

    def every(self, classes: int) -> Tensor:
        """The numbers of all training images of so many classes, (g, B)."""
        return torch.arange(self.each, device=self.pixels.device).expand(classes, -1)

    def decode(self, pixels: Tensor, rows: Tensor | None) -> Tensor:
        """Stored (g, ipc, …) -> training images (g, B, C, H, W); ``rows`` (g, B) as :meth:`draw` gives them."""
        if rows is None and self.codec.plain:
            return pixels
        groups = len(pixels)
        if self.rate is not None:
            pixels = self.codec.settled(pixels)
        if rows is None:
            rows = self.every(groups)
        first = torch.arange(groups, device=pixels.device)[:, None] * self.each
        images = self.codec.decode(pixels.flatten(0, 1), (first + rows).flatten(), self.size)
        return images.view(*rows.shape, *images.shape[1:])

    def update(self, gradient: Tensor) -> None:
        if self.bound is not None:
            gradient = at_most(gradient, self.bound)
        if self.rate is not None:
            gradient = at_most(gradient.flatten(0, 1), self.rate.bound).view_as(gradient) * self.rate.metric
        self.velocity.mul_(self.momentum).add_(gradient)
        self.pixels.sub_(self.velocity * self.lr)
        if self.rate is not None:
            self.rate.shrink(self.pixels, self.lr)

    def average(self) -> None:
        """Let the pixels as they are count for the result's mean."""
        self.total.add_(self.pixels)
        self.averaged += 1

    @property
    def result(self) -> Tensor:
        """(G, ipc, …): the mean, where something was averaged."""
        return self.total / self.averaged if self.averaged else self.pixels

    def state(self) -> dict[str, Tensor | int]:
        """What :meth:`restore` takes to go on from here."""
        return {"averaged": self.averaged, **{name: value.cpu().clone() for name, value in self._tensors.items()}}

    def restore(self, state: dict[str, Any]) -> None:
        self.averaged = int(state.get("averaged", 0))
        for name, tensor in self._tensors.items():
            tensor.copy_(state[name])

    @property
    def _tensors(self) -> dict[str, Tensor]:
        found = {"pixels": self.pixels, "velocity": self.velocity}
        return found | ({"total": self.total} if self.averaged else {}) | (self.rate.state if self.rate else {})
