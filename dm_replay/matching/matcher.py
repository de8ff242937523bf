"""One iteration of distribution matching, for all classes at once."""

import copy
import functools
import itertools
import math
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..augment.siamese import SiameseAugment
from ..networks import build_network, reset
from ..runtime.cuda_graphs import cuda_graphed
from ..runtime.engine import Engine, compiled
from ..runtime.prefetch import ReadAhead
from ..runtime.seeding import derive
from .losses import matching_loss
from .real_batches import RealBatches

__all__ = ["Matcher"]

READ_AHEAD = 256 * 2**20  # bytes of stored pixels; an iteration of 1,000 classes of 256 64x64 images has 3.1 GB


class Matcher:
    """Synthetic pixels on their way to the real images' mean features.

    Args:
        pixels: (G, ipc, C, H, W) to start from; kept on the engine's device in at least float32.
        network: name of the random embedding. weights: of the prefixes, see :func:`matching_loss`.
        seed: each iteration's draws depend on it and on the iteration's number alone.

    On a GPU that holds the real images, random numbers are drawn there and a whole step is one CUDA graph. Real images
    that lie elsewhere than on the engine's device, or in a file, are read ahead by a thread, which :meth:`close` ends.
    """

    def __init__(
        self,
        real_batches: RealBatches,
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
        self.real_batches = replace(real_batches, previous=real_batches.previous.to(engine.device))
        self.augment, self.engine = augment, engine
        self.lr, self.momentum, self.seed = lr, momentum, seed
        self.branches = _branches(network, real_batches.pool.shape, augment, engine)
        self.pixels = pixels.to(engine.device, self.branches.master, copy=True)
        self.velocity = torch.zeros_like(self.pixels)
        self.row_weights = real_batches.weights.to(engine.device, self.branches.master)
        self.prefix_weights = None if weights is None else weights.to(engine.device, self.branches.master)
        whole = self.branches.student.batch_statistics
        self.blocks = list(_blocks(*self.row_weights.shape, sys.maxsize if whole else engine.chunk))
        self.parts = _parts(*pixels.shape[:2], sys.maxsize if whole else engine.gradient_chunk)
        self.resident = not real_batches.pool.mapped and real_batches.pool.device == engine.device
        self.loss = torch.zeros((), device=engine.device, dtype=self.branches.master)
        here = engine.draws or engine.device
        self._streams = {role: torch.Generator(here) for role in ("network", "augment")}
        self._streams["draw"] = torch.Generator(here if self.resident else "cpu")
        self._rows = real_batches.rows(self._streams["draw"].device)
        self._whole_step: Callable[[], None] | None = None
        self._ahead: ReadAhead | None = None
        self._next: int | None = None

    def step(self, iteration: int) -> Tensor:
        """One update of the pixels; returns the loss per class before it, a 0-d tensor."""
        with self.branches.lock:
            if self.resident and self._whole_step is None:
                self._whole_step = self._captured()
            self._generator("network", iteration)
            self._generator("augment", iteration)
            if self.resident:
                self._generator("draw", iteration)
                self._whole_step()
            else:
                self._advance(self._read_ahead(iteration))
        return self.loss / len(self.pixels)

    def _captured(self) -> Callable[[], None]:
        """A step without arguments; the calls that a capture needs beforehand leave no trace."""

        def step() -> None:
            self._advance(self._stored(self._draw()))

        if any(stream.device != self.engine.device for stream in self._streams.values()):
            return step
        pixels, velocity = self.pixels.clone(), self.velocity.clone()
        step = cuda_graphed(step, self.engine.device, self._streams.values())
        self.pixels.copy_(pixels)
        self.velocity.copy_(velocity)
        return step

    def _advance(self, stored: Iterable[Tensor]) -> None:
        """One update, with numbers from the streams as they are and the stored images of each block."""
        reset(self.branches.student, self._streams["network"])
        self.branches.follow()
        real_batches = self.real_batches
        params = self.augment.sample(len(real_batches.classes), real_batches.pool.shape[1:], self._streams["augment"])
        params = params[real_batches.shard].to(self.engine.device)
        loss, gradient = self.gradient(self._sums(stored, params), params)
        self.loss.copy_(loss)
        self.velocity.mul_(self.momentum).add_(gradient)
        self.pixels.sub_(self.velocity, alpha=self.lr)

    def targets(self, indices: Tensor, params: Tensor) -> Tensor:
        """Mean features of the real_batches: (G, D)."""
        return self._sums(self._stored(indices), params)

    @torch.no_grad()
    def _sums(self, stored: Iterable[Tensor], params: Tensor) -> Tensor:
        """Weighted sums of the real_batches' features, from the stored images of each block."""
        out: list[Tensor] = []
        for (groups, part), pixels in zip(self.blocks, stored, strict=False):
            images = self.real_batches.complete(pixels, groups, part, self.engine.device)
            sums = self.branches.teach(images, params[groups], self.row_weights[groups, part])
            if part.start == 0:
                out.append(sums)
            else:
                out[-1] += sums
        return torch.cat(out)

    def gradient(self, targets: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, summed over classes, and its gradient to the pixels."""
        losses, gradients = zip(*(self._gradient(part, targets, params) for part in self.parts), strict=True)
        return torch.stack(losses).sum(), torch.cat(gradients)

    def _gradient(self, part: slice, targets: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Those of some classes."""
        pixels = self.pixels[part].detach().requires_grad_()
        loss = self.branches.match(pixels, params[part], targets[part], self.prefix_weights)
        (gradient,) = torch.autograd.grad(loss, pixels)
        return loss.detach(), gradient

    def close(self) -> None:
        """End the thread that reads ahead, if there is one."""
        if self._ahead is not None:
            self._ahead.close()
            self._ahead = None

    def state(self) -> dict[str, Tensor]:
        return {"pixels": self.pixels.cpu().clone(), "velocity": self.velocity.cpu().clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.pixels.copy_(state["pixels"])
        self.velocity.copy_(state["velocity"])

    def _read_ahead(self, iteration: int) -> Iterable[Tensor]:
        """The stored images of each block of an iteration, from the thread."""
        if self._ahead is None or self._next != iteration:
            self.close()
            following = itertools.chain.from_iterable(map(self._stored_of, itertools.count(iteration)))
            self._ahead = ReadAhead(following, self._depth(), self.engine.device)
        self._next = iteration + 1
        return self._ahead

    def _depth(self) -> int:
        """Blocks to read ahead: those of an iteration, within :data:`READ_AHEAD`."""
        groups, rows = self.blocks[0]
        images = (groups.stop - groups.start) * (rows.stop - rows.start)
        size = images * math.prod(self.real_batches.pool.shape) * self.real_batches.pool.images.itemsize
        return min(len(self.blocks), max(1, READ_AHEAD // size))

    def _stored_of(self, iteration: int) -> Iterator[Tensor]:
        self._generator("draw", iteration)
        return self._stored(self._draw())

    def _draw(self) -> Tensor:
        return self._rows.draw(self.real_batches.batch, self._streams["draw"])

    def _stored(self, indices: Tensor) -> Iterator[Tensor]:
        return (self.real_batches.stored(indices, *block) for block in self.blocks)

    def _generator(self, role: str, iteration: int) -> torch.Generator:
        """The role's stream, at the beginning of an iteration's draws."""
        return self._streams[role].manual_seed(derive(self.seed, role, iteration))


def _blocks(groups: int, rows: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Cut (groups, rows) into blocks of about ``chunk`` images, whole classes or equal parts of one class."""
    together = max(1, chunk // rows)
    part = -(-rows // -(-rows // chunk))
    for first in range(0, groups, together):
        for start in range(0, rows, part):
            yield slice(first, min(first + together, groups)), slice(start, min(start + part, rows))


def _parts(groups: int, rows: int, chunk: int) -> list[slice]:
    """Cut the groups into equal parts of at most ``chunk`` images, or of one group."""
    together = max(1, chunk // rows)
    together = -(-groups // -(-groups // together))
    return [slice(first, min(first + together, groups)) for first in range(0, groups, together)]


class Branches:
    """The two sides of the matching: ``teach`` carries no gradient and runs in the engine's dtype, ``match`` carries
    one and runs in ``master``, which is at least float32."""

    def __init__(self, network: str, shape: tuple[int, int, int], augment: SiameseAugment, engine: Engine):
        self.augment, self.dtype = augment, engine.dtype
        self.master = torch.promote_types(engine.dtype, torch.float32)
        frozen = build_network(network, shape, 1).train().requires_grad_(False)
        self.student = frozen.to(engine.device, self.master, memory_format=torch.channels_last)
        same = self.dtype == self.master
        self.teacher = self.student if same else copy.deepcopy(self.student).to(self.dtype)
        self.teach, self.match = compiled(self._teach, engine), compiled(self._match, engine)
        self.lock = threading.RLock()  # condensations in several threads take turns with the networks

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
