"""The synthetic pixels while they are condensed: stored images, their decoder, SGD and the mean of its tail."""

import torch
from torch import Tensor

from ..condensed.codec import Codec
from .bounds import at_most

__all__ = ["SyntheticPixels"]


class SyntheticPixels:
    """Stored pixels on their way, in place, so that a step can be captured.

    Args:
        pixels: (G, ipc, …) to start from. codec: what training images they stand for. size: (H, W) of these.
        momentum: of the SGD. batch: training images of each class per update; 0 for all of them.
        prefix_weight: weights (ipc,) of the prefixes of a class's images, None where only their full number counts.
            Where a
            part is drawn, it is drawn from a prefix, chosen by these weights.
        bound: of each class's gradient, see :func:`at_most`; None takes it as it is.
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
    ):
        self.pixels, self.codec, self.size, self.momentum, self.bound = pixels, codec, size, momentum, bound
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
        if rows is None:
            rows = self.every(groups)
        first = torch.arange(groups, device=pixels.device)[:, None] * self.each
        images = self.codec.decode(pixels.flatten(0, 1), (first + rows).flatten(), self.size)
        return images.view(*rows.shape, *images.shape[1:])

    def update(self, gradient: Tensor) -> None:
        if self.bound is not None:
            gradient = at_most(gradient, self.bound)
        self.velocity.mul_(self.momentum).add_(gradient)
        self.pixels.sub_(self.velocity * self.lr)

    def average(self) -> None:
        """Let the pixels as they are count for the result's mean."""
        self.total.add_(self.pixels)
        self.averaged += 1

    @property
    def result(self) -> Tensor:
        """(G, ipc, …): the mean, where something was averaged."""
        return self.total / self.averaged if self.averaged else self.pixels

    def state(self) -> dict[str, Tensor | int]:
        tensors = {"pixels": self.pixels, "velocity": self.velocity}
        if self.averaged:
            tensors["total"] = self.total
        return {"averaged": self.averaged, **{name: value.cpu().clone() for name, value in tensors.items()}}

    def restore(self, state: dict[str, Tensor | int]) -> None:
        self.averaged = int(state.get("averaged", 0))
        for name in ("pixels", "velocity", *(("total",) if self.averaged else ())):
            getattr(self, name).copy_(state[name])
