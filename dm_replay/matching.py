"""One iteration of distribution matching, for all classes at once."""

import copy
import functools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .augment import SiameseAugment
from .condensed import CondensedSet
from .engine import Engine, compiled
from .functional import matching_loss
from .networks import build, reset
from .pools import TensorPool
from .seeding import generator

__all__ = ["Matcher", "Teachers"]


@dataclass(frozen=True)
class Teachers:
    """The images whose mean features a class is matched to: drawn real ones and, of a returning class, previous ones.

    Attributes:
        pool: real images. classes: (G,). batch: real images of each class per iteration.
        previous: (G, K, C, H, W) condensed images of these classes, padded with zeros; K may be 0.
        weights: (G, batch + K), each row sums to 1: what an image counts for in its class's mean.
        counts: (G,) real images that each class stands for from now on.
    """

    pool: TensorPool
    classes: Tensor
    batch: int
    previous: Tensor
    weights: Tensor
    counts: Tensor

    @classmethod
    def of(cls, pool: TensorPool, classes: Tensor, batch: int, previous: CondensedSet | None) -> "Teachers":
        new = pool.counts_of(classes)
        batch = min(batch, int(new.max()))
        images, held, old = _by_class(previous, classes, pool.shape)
        share = new.double() / (new + old)
        weights = torch.cat(
            [
                (share / batch)[:, None].expand(-1, batch),
                (1 - share)[:, None] * held / held.sum(1, keepdim=True).clamp_min(1),
            ],
            dim=1,
        )
        return cls(pool, classes, batch, images, weights, new + old)

    def draw(self, numbers: torch.Generator) -> Tensor:
        """Indices of this iteration's real images: (G, batch)."""
        return self.pool.draw_indices(self.classes, self.batch, numbers)

    def take(self, indices: Tensor, groups: slice, rows: slice, device: torch.device) -> Tensor:
        """A block of the normalised teachers; rows from ``batch`` on are previous images."""
        real = self.pool.take(indices[groups, rows]).to(device, non_blocking=True)
        kept = slice(max(0, rows.start - self.batch), max(0, rows.stop - self.batch))
        if kept.stop == kept.start:
            return real
        return torch.cat([real, self.previous[groups, kept].to(device)], dim=1)


def _by_class(previous: CondensedSet | None, classes: Tensor, shape: tuple) -> tuple[Tensor, Tensor, Tensor]:
    """Previous images (G, K, C, H, W), which of them are there (G, K) and what each class counts (G,)."""
    mine = [] if previous is None else [previous.of(c) if c in previous.classes else None for c in classes.tolist()]
    longest = max((len(s) for s in mine if s is not None), default=0)
    images = torch.zeros(len(classes), longest, *shape)
    held, counts = torch.zeros(len(classes), longest), torch.zeros(len(classes), dtype=torch.long)
    for group, part in enumerate(mine):
        if part is not None:
            images[group, : len(part)], held[group, : len(part)] = part.images, 1.0
            counts[group] = part.counts[0]
    return images, held, counts


class Matcher:
    """Synthetic pixels on their way to the real images' mean features.

    Args:
        pixels: (G, ipc, C, H, W) to start from; kept on the engine's device in at least float32.
        network: name of the random embedding. weights: of the prefixes, see :func:`matching_loss`.
        seed: each iteration's draws depend on it and on the iteration's number alone.
    """

    def __init__(
        self,
        teachers: Teachers,
        pixels: Tensor,
        *,
        network: str,
        augment: SiameseAugment,
        engine: Engine,
        lr: float,
        momentum: float,
        weights: Tensor | None,
        seed: int,
    ):
        self.teachers, self.augment, self.engine = teachers, augment, engine
        self.lr, self.momentum, self.seed = lr, momentum, seed
        self.branches = _branches(network, teachers.pool.shape, augment, engine)
        self.pixels = pixels.to(engine.device, self.branches.master, copy=True)
        self.velocity = torch.zeros_like(self.pixels)
        self.row_weights = teachers.weights.to(engine.device, self.branches.master)
        self.prefix_weights = None if weights is None else weights.to(engine.device, self.branches.master)

    def step(self, iteration: int) -> Tensor:
        """One update of the pixels; returns the loss per class before it, a 0-d tensor."""
        reset(self.branches.student, self._numbers("network", iteration))
        self.branches.follow()
        params = self.augment.sample(
            len(self.pixels), self.teachers.pool.shape[1:], self._numbers("augment", iteration)
        ).to(self.engine.device)
        targets = self.targets(self.teachers.draw(self._numbers("draw", iteration)), params)
        loss, gradient = self.gradient(targets, params)
        self.velocity.mul_(self.momentum).add_(gradient)
        self.pixels.sub_(self.velocity, alpha=self.lr)
        return loss / len(self.pixels)

    @torch.no_grad()
    def targets(self, indices: Tensor, params: Tensor) -> Tensor:
        """Mean features of the teachers: (G, D)."""
        rows = self.row_weights.shape[1]
        whole = self.branches.student.batch_statistics
        blocks = [(slice(0, len(indices)), slice(0, rows))] if whole else _blocks(len(indices), rows, self.engine.chunk)
        out: list[Tensor] = []
        for groups, part in blocks:
            images = self.teachers.take(indices, groups, part, self.engine.device)
            sums = self.branches.teach(images, params[groups], self.row_weights[groups, part])
            if part.start == 0:
                out.append(sums)
            else:
                out[-1] += sums
        return torch.cat(out)

    def gradient(self, targets: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, summed over classes, and its gradient to the pixels."""
        pixels = self.pixels.detach().requires_grad_()
        loss = self.branches.match(pixels, params, targets, self.prefix_weights)
        (gradient,) = torch.autograd.grad(loss, pixels)
        return loss.detach(), gradient

    def state(self) -> dict[str, Tensor]:
        return {"pixels": self.pixels.cpu().clone(), "velocity": self.velocity.cpu().clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.pixels.copy_(state["pixels"])
        self.velocity.copy_(state["velocity"])

    def _numbers(self, role: str, iteration: int) -> torch.Generator:
        return generator(self.seed, role, iteration)


def _blocks(groups: int, rows: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Cut (groups, rows) into blocks of about ``chunk`` images, whole classes or equal parts of one class."""
    together = max(1, chunk // rows)
    part = -(-rows // -(-rows // chunk))
    for first in range(0, groups, together):
        for start in range(0, rows, part):
            yield slice(first, min(first + together, groups)), slice(start, min(start + part, rows))


class Branches:
    """The two sides of the matching: ``teach`` carries no gradient and runs in the engine's dtype, ``match`` carries
    one and runs in ``master``, which is at least float32."""

    def __init__(self, network: str, shape: tuple[int, int, int], augment: SiameseAugment, engine: Engine):
        self.augment, self.dtype = augment, engine.dtype
        self.master = torch.promote_types(engine.dtype, torch.float32)
        frozen = build(network, shape, 1).train().requires_grad_(False)
        self.student = frozen.to(engine.device, self.master, memory_format=torch.channels_last)
        same = self.dtype == self.master
        self.teacher = self.student if same else copy.deepcopy(self.student).to(self.dtype)
        self.teach, self.match = compiled(self._teach, engine), compiled(self._match, engine)

    @torch.no_grad()
    def follow(self) -> None:
        """Give the teacher the student's parameters."""
        if self.teacher is not self.student:
            torch._foreach_copy_(list(self.teacher.parameters()), list(self.student.parameters()))

    def _teach(self, images: Tensor, params: Tensor, weights: Tensor) -> Tensor:
        """(G, B, C, H, W), weights (G, B) -> weighted sums of features (G, D)."""
        features = self._embed(self.teacher, images.to(self.master), params, self.dtype)
        return (features.to(self.master) * weights[..., None]).sum(1)

    def _match(self, pixels: Tensor, params: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        return matching_loss(targets, self._embed(self.student, pixels, params, self.master), weights)

    def _embed(self, network: nn.Module, x: Tensor, params: Tensor, dtype: torch.dtype) -> Tensor:
        flat = self.augment.apply(x, params).flatten(0, 1)
        features = network.embed(flat.to(dtype).contiguous(memory_format=torch.channels_last))
        return features.view(*x.shape[:2], -1)


@functools.lru_cache(maxsize=4)
def _branches(network: str, shape: tuple[int, int, int], augment: SiameseAugment, engine: Engine) -> Branches:
    """Kept between calls, so that a stream of experiences compiles once."""
    return Branches(network, shape, augment, engine)
