"""The embedding of an iteration: one network for the real images and for the synthetic ones."""

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..augment.siamese import AugmentParams, SiameseAugment
from ..networks import build_network, reset
from ..runtime.acceleration import compiled
from ..runtime.engine import Engine
from .losses import Distance, matching_loss

__all__ = ["Extractor", "TrainedNetworks"]


class TrainedNetworks(NamedTuple):
    """Parameters of P networks, flat: (P, n) as they began and as training left them."""

    initial: Tensor
    trained: Tensor


class Extractor:
    """Embeds augmented images by one network, which :meth:`refresh` draws anew.

    The real side carries no gradient and runs in the engine's dtype; the synthetic side carries one and runs in
    ``master``, which is at least float32, with matrix work in the engine's dtype if ``mixed``. Each has its own copy
    of the network where the two differ.

    Args:
        network: its name, or a module with ``embed``, ``classifier`` and ``batch_statistics``, which is taken over.
        classes: width of the head, which only trained networks use.
        distance: what of the features is compared, see :class:`Distance`.
        mixed: whether the synthetic side's matrix work may run in the engine's dtype (autocast).

    Attributes:
        network: the synthetic side's. features: D, of an image.
        batch_statistics: whether an image's features depend on the rest of its batch.
    """

    def __init__(
        self,
        network: str | nn.Module,
        shape: tuple[int, int, int],
        augment: SiameseAugment,
        engine: Engine,
        classes: int = 1,
        mixed: bool = False,
        distance: str = "mean",
    ):
        self.augment, self.dtype, self.engine = augment, engine.dtype, engine
        self.mixed = mixed and engine.dtype == torch.bfloat16
        self.master = torch.promote_types(engine.dtype, torch.float32)
        built = build_network(network, shape, classes) if isinstance(network, str) else network
        frozen = built.train().requires_grad_(False)
        self.network = frozen.to(engine.device, self.master).to(memory_format=torch.channels_last)
        self.batch_statistics = bool(self.network.batch_statistics)
        same = self.dtype == self.master
        self._real_network = self.network if same else copy.deepcopy(self.network).to(self.dtype)
        self.features = int(self.network.classifier.in_features)  # type: ignore[union-attr, arg-type]
        self.distance = Distance(distance, self.features, engine.device, self.master)
        self.embed_real = compiled(self._embed_real, engine)
        self.synthetic_loss = compiled(self._synthetic_loss, engine)
        self.synthetic_features = compiled(self._synthetic_features, engine)

    def refresh(self, generator: torch.Generator, trained: TrainedNetworks | None = None) -> None:
        """The network of the next iteration, for both sides. The only place where an embedding comes from.

        A new random network or, with trained ones, one of them: λ · initial + (1 − λ) · trained, λ uniform in [0, 1).
        """
        if trained is None:
            reset(self.network, generator)
        else:
            self._mix(trained, *torch.rand(2, generator=generator, device=generator.device).unbind())
        self.distance.refresh(generator)
        if self._real_network is not self.network:
            torch._foreach_copy_(list(self._real_network.parameters()), list(self.network.parameters()))

    def _mix(self, trained: TrainedNetworks, choice: Tensor, part: Tensor) -> None:
        row = (choice * len(trained.initial)).long().to(trained.initial.device)[None]
        initial, final = (flat.index_select(0, row)[0] for flat in trained)
        write_flat(self.network, torch.lerp(final, initial, part.to(initial)))

    def _embed_real(self, images: Tensor, params: AugmentParams, weights: Tensor) -> Tensor:
        """(G, B, C, H, W), weights (G, B) -> weighted sums of the features' statistics (G, D')."""
        features = self._embed(self._real_network, images.to(self.master), params, self.dtype)
        return (self.distance(features.to(self.master)) * weights[..., None]).sum(1)

    def _synthetic_features(self, images: Tensor, params: AugmentParams) -> Tensor:
        """(G, B, C, H, W) -> features (G, B, D), differentiable in the images."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            return self._embed(self.network, images, params, self.master)

    def _synthetic_loss(self, images: Tensor, params: AugmentParams, *about: Any) -> Tensor:
        """(G, B, C, H, W) -> :meth:`loss_of_features` of their features, differentiable in the images."""
        return self.loss_of_features(self._synthetic_features(images, params), *about)

    def loss_of_features(
        self,
        features: Tensor,
        targets: Tensor,
        prefix_weights: Tensor | None,
        prefix_step: int,
        labels: Tensor | None,
        class_weight: float,
    ) -> Tensor:
        """(G, B, D), targets (G, D') -> the summed matching loss.

        With labels (G,) also ``class_weight`` times the cross-entropy, summed over classes and averaged over a class.
        """
        statistics = self.distance(features.to(self.master))
        loss = matching_loss(targets, statistics, prefix_weights, prefix_step)
        if labels is None:
            return loss
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self.mixed):
            logits = self.network.classifier(features)  # type: ignore[operator]
        expected = labels[:, None].expand(-1, features.shape[1]).flatten()
        errors = F.cross_entropy(logits.flatten(0, 1).to(self.master), expected, reduction="sum")
        return loss + class_weight / features.shape[1] * errors

    def _embed(self, network: nn.Module, x: Tensor, params: AugmentParams, dtype: torch.dtype) -> Tensor:
        flat = self.augment.apply(x, params).flatten(0, 1)
        channels_last = flat.to(dtype).contiguous(memory_format=torch.channels_last)
        features = network.embed(channels_last)  # type: ignore[operator]
        return features.view(*x.shape[:2], -1)


@torch.no_grad()
def write_flat(network: nn.Module, flat: Tensor) -> None:
    """Give a network's parameters the values of one flat tensor (n,), in place."""
    parameters: list[Tensor] = list(network.parameters())
    pieces = flat.split([p.numel() for p in parameters])
    torch._foreach_copy_(parameters, [piece.view_as(p) for piece, p in zip(pieces, parameters, strict=True)])


def read_flat(network: nn.Module) -> Tensor:
    """A network's parameters as one flat tensor (n,), a copy."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])
