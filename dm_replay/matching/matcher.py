"""One step of condensation, for all classes at once."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ..augment.siamese import AugmentParams, SiameseAugment
from ..runtime.acceleration import cuda_graphed
from ..runtime.engine import Engine
from ..runtime.seeding import RoleStreams
from .extractors import Extractor, TrainedNetworks
from .losses import equal_parts, gradient_in_pieces
from .real_batches import Block, RealBatches
from .synthetic import SyntheticPixels

__all__ = ["Matcher"]


class Matcher:
    """Synthetic pixels on their way to the real images' mean features.

    Args:
        real: what each class is matched to. extractor: the embedding. trained: networks that it takes.
        synthetic: the pixels, on the engine's device in at least float32.
        inner_steps: updates of the pixels in each step. class_weight: of the trained networks' cross-entropy.
        seed: each iteration's draws depend on it and on the iteration's number alone.

    On a GPU that holds the real images, random numbers are drawn there and a whole step is one CUDA graph.
    """

    def __init__(
        self,
        real: RealBatches,
        extractor: Extractor,
        synthetic: SyntheticPixels,
        *,
        augment: SiameseAugment,
        engine: Engine,
        seed: int,
        inner_steps: int = 1,
        trained: TrainedNetworks | None = None,
        class_weight: float = 0.0,
    ):
        self.real, self.extractor, self.synthetic = real, extractor, synthetic
        self.augment, self.engine, self.inner_steps, self.trained = augment, engine, inner_steps, trained
        self.row_weights = real.weights.to(engine.device, extractor.master)
        self.class_weight = class_weight
        labels = real.shard.take(torch.arange(len(real.shard.classes))).to(engine.device)
        self.labels = labels if class_weight else None
        whole = extractor.batch_statistics
        self.together = sys.maxsize if whole else engine.gradient_chunk
        self.parts = equal_parts(len(labels), synthetic.rows, self.together)
        self.loss = torch.zeros((), device=engine.device, dtype=extractor.master)
        roles = {"draw": real.draws_on, **dict.fromkeys(("network", "augment", "tiles"), engine.draws_on)}
        self._streams = RoleStreams(seed, roles)
        self._graphed: Callable[[], None] | None = None

    @property
    def pixels(self) -> Tensor:
        """(G, ipc, …) as they are stored, live."""
        return self.synthetic.pixels

    def step(self, iteration: int, lr: float = 1.0) -> Tensor:
        """The updates of one iteration; returns the loss per class before the last, a 0-d tensor."""
        self.synthetic.lr.fill_(lr)
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
        device, drawn_on = self.engine.device, {generator.device for generator in self._streams.generators.values()}
        return self.engine.graphs and device.type == "cuda" and self.real.resident and drawn_on == {device}

    def _graph(self) -> Callable[[], None]:
        """A step as one launch; the calls that a capture needs beforehand leave no trace."""
        before = self.synthetic.state()
        generators = self._streams.generators.values()
        try:
            return cuda_graphed(lambda: self._update(0), self.engine.device, generators)
        finally:
            self.synthetic.restore(before)

    def _update(self, iteration: int) -> None:
        """The updates, with numbers from the streams as they are; ``iteration`` says what is read ahead."""
        self.extractor.refresh(self._streams["network"], self.trained)
        shard, classes = self.real.shard, len(self.real.shard.classes)
        params = self.augment.sample(classes, self.real.pool.shape[1:], self._streams["augment"])
        params = shard.take(params).to(self.engine.device)
        targets = self.targets(self.real.blocks(iteration, self._streams["draw"]), params)
        for _ in range(self.inner_steps):
            rows = self.synthetic.draw(classes, self._streams["tiles"])
            loss, gradient = self.gradient(targets, params, None if rows is None else shard.take(rows))
            self.synthetic.update(gradient)
        self.loss.copy_(loss)

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

    def gradient(self, targets: Tensor, params: AugmentParams, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss, summed over classes, and its gradient to the pixels; of the training images ``rows`` (G, B)."""
        losses, gradients = zip(*(self._gradient(part, targets, params, rows) for part in self.parts), strict=True)
        return torch.stack(losses).sum(), torch.cat(gradients)

    def _gradient(
        self, part: slice, targets: Tensor, params: AugmentParams, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Those of some classes; of a single one that has too many images, in pieces."""
        rows = None if rows is None else rows[part].to(self.pixels.device)
        nested = self.synthetic.prefix_weight if rows is None else None
        labels = None if self.labels is None else self.labels[part]
        pixels, params = self.pixels[part].detach(), params.take(part)
        about = targets[part], nested, self.synthetic.codec.images_per_stored, labels, self.class_weight
        if self.synthetic.rows > self.together:

            def features(pixels: Tensor, rows: Tensor) -> Tensor:
                return self.extractor.synthetic_features(self.synthetic.decode(pixels, rows), params)

            def loss_of(features: Tensor) -> Tensor:
                return self.extractor.loss_of_features(features, *about)

            every = self.synthetic.every(1) if rows is None else rows
            return gradient_in_pieces(pixels, every, self.together, features, loss_of)
        pixels.requires_grad_()
        loss = self.extractor.synthetic_loss(self.synthetic.decode(pixels, rows), params, *about)
        (gradient,) = torch.autograd.grad(loss, pixels)
        return loss.detach(), gradient

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` takes to go on from here."""
        return self.synthetic.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.synthetic.restore(state)

    def close(self) -> None:
        """End what runs beside the steps."""
        self.real.close()
