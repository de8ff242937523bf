"""One step of condensation, for all classes at once."""

import sys
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ..augment.siamese import AugmentParams, SiameseAugment
from ..runtime.cuda_graphs import cuda_graphed
from ..runtime.engine import Engine
from ..runtime.seeding import RoleStreams
from .extractors import Extractor
from .real_batches import Block, RealBatches

__all__ = ["Matcher"]


class Matcher:
    """Synthetic pixels on their way to the real images' mean features.

    Args:
        real: what each class is matched to. extractor: the random embedding.
        pixels: (G, ipc, C, H, W) to start from; kept on the engine's device in at least float32.
        weights: of the prefixes, see :func:`matching_loss`.
        seed: each iteration's draws depend on it and on the iteration's number alone.

    On a GPU that holds the real images, random numbers are drawn there and a whole step is one CUDA graph.
    """

    def __init__(
        self,
        real: RealBatches,
        extractor: Extractor,
        pixels: Tensor,
        *,
        augment: SiameseAugment,
        engine: Engine,
        lr: float,
        momentum: float,
        weights: Tensor | None,
        seed: int,
    ):
        self.real, self.extractor, self.augment, self.engine = real, extractor, augment, engine
        self.lr, self.momentum = lr, momentum
        self.pixels = pixels.to(engine.device, extractor.master, copy=True)
        self.velocity = torch.zeros_like(self.pixels)
        self.row_weights = real.weights.to(engine.device, extractor.master)
        self.prefix_weights = None if weights is None else weights.to(engine.device, extractor.master)
        whole = extractor.batch_statistics
        self.parts = equal_parts(len(pixels), pixels.shape[1], sys.maxsize if whole else engine.gradient_chunk)
        self.loss = torch.zeros((), device=engine.device, dtype=extractor.master)
        draws = engine.draws or engine.device
        self._streams = RoleStreams(seed, {"network": draws, "augment": draws, "draw": real.draws_on})
        self._graphed: Callable[[], None] | None = None

    def step(self, iteration: int) -> Tensor:
        """One update of the pixels; returns the loss per class before it, a 0-d tensor."""
        if self._graphed is None and self._can_be_graphed:
            self._graphed = self._graph()
        self._streams.move_to(iteration)
        if self._graphed is None:
            self._update(iteration)
        else:
            self._graphed()
        return self.loss / len(self.pixels)

    @property
    def _can_be_graphed(self) -> bool:
        """Everything that a step needs lies on the device and is drawn there."""
        devices = {generator.device for generator in self._streams.generators.values()}
        return (
            self.engine.graphs
            and self.engine.device.type == "cuda"
            and self.real.resident
            and devices == {self.engine.device}
        )

    def _graph(self) -> Callable[[], None]:
        """A step as one launch; the calls that a capture needs beforehand leave no trace."""
        pixels, velocity = self.pixels.clone(), self.velocity.clone()
        generators = self._streams.generators.values()
        try:
            return cuda_graphed(lambda: self._update(0), self.engine.device, generators)
        finally:
            self.pixels.copy_(pixels)
            self.velocity.copy_(velocity)

    def _update(self, iteration: int) -> None:
        """One update, with numbers from the streams as they are; ``iteration`` says what is read ahead."""
        self.extractor.refresh(self._streams["network"])
        params = self.augment.sample(len(self.real.shard.classes), self.pixels.shape[3:], self._streams["augment"])
        params = self.real.shard.take(params).to(self.engine.device)
        targets = self.targets(self.real.blocks(iteration, self._streams["draw"]), params)
        loss, gradient = self.gradient(targets, params)
        self.loss.copy_(loss)
        self.velocity.mul_(self.momentum).add_(gradient)
        self.pixels.sub_(self.velocity, alpha=self.lr)

    @torch.no_grad()
    def targets(self, blocks: Iterable[Block], params: AugmentParams) -> Tensor:
        """Mean features of the real images: (G, D)."""
        out: list[Tensor] = []
        for groups, rows, images in blocks:
            sums = self.extractor.embed_real(images, params.take(groups), self.row_weights[groups, rows])
            if rows.start == 0:
                out.append(sums)
            else:
                out[-1] += sums
        return torch.cat(out)

    def gradient(self, targets: Tensor, params: AugmentParams) -> tuple[Tensor, Tensor]:
        """The loss, summed over classes, and its gradient to the pixels."""
        losses, gradients = zip(*(self._gradient(part, targets, params) for part in self.parts), strict=True)
        return torch.stack(losses).sum(), torch.cat(gradients)

    def _gradient(self, part: slice, targets: Tensor, params: AugmentParams) -> tuple[Tensor, Tensor]:
        """Those of some classes."""
        pixels = self.pixels[part].detach().requires_grad_()
        loss = self.extractor.synthetic_loss(pixels, params.take(part), targets[part], self.prefix_weights)
        (gradient,) = torch.autograd.grad(loss, pixels)
        return loss.detach(), gradient

    def close(self) -> None:
        """End what runs beside the steps."""
        self.real.close()

    def state(self) -> dict[str, Tensor]:
        return {"pixels": self.pixels.cpu().clone(), "velocity": self.velocity.cpu().clone()}

    def restore(self, state: dict[str, Tensor]) -> None:
        self.pixels.copy_(state["pixels"])
        self.velocity.copy_(state["velocity"])


def equal_parts(groups: int, rows: int, chunk: int) -> list[slice]:
    """Cut the groups into equal parts of at most ``chunk`` images, or of one group."""
    together = max(1, chunk // rows)
    together = -(-groups // -(-groups // together))
    return [slice(first, min(first + together, groups)) for first in range(0, groups, together)]
