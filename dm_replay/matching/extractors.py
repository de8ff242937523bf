"""The embedding of an iteration: a freshly drawn network, for the real images and for the synthetic ones."""

import copy

import torch
from torch import Tensor, nn

from ..augment.siamese import AugmentParams, SiameseAugment
from ..networks import build_network, reset
from ..runtime.engine import Engine, compiled
from .losses import matching_loss

__all__ = ["Extractor"]


class Extractor:
    """Embeds augmented images by one network, which :meth:`refresh` draws anew.

    The real side carries no gradient and runs in the engine's dtype; the synthetic side carries one and runs in
    ``master``, which is at least float32. Each has its own copy of the network where the two differ.

    Attributes:
        network: the synthetic side's. batch_statistics: whether an image's features depend on the rest of its batch.
    """

    def __init__(self, network: str, shape: tuple[int, int, int], augment: SiameseAugment, engine: Engine):
        self.augment, self.dtype = augment, engine.dtype
        self.master = torch.promote_types(engine.dtype, torch.float32)
        frozen = build_network(network, shape, 1).train().requires_grad_(False)
        self.network = frozen.to(engine.device, self.master).to(memory_format=torch.channels_last)
        self.batch_statistics = bool(self.network.batch_statistics)
        same = self.dtype == self.master
        self._real_network = self.network if same else copy.deepcopy(self.network).to(self.dtype)
        self.embed_real = compiled(self._embed_real, engine)
        self.synthetic_loss = compiled(self._synthetic_loss, engine)

    def refresh(self, generator: torch.Generator) -> None:
        """The network of the next iteration, for both sides. The only place where an embedding comes from."""
        reset(self.network, generator)
        self._sync_real_network()

    @torch.no_grad()
    def _sync_real_network(self) -> None:
        if self._real_network is not self.network:
            torch._foreach_copy_(list(self._real_network.parameters()), list(self.network.parameters()))

    def _embed_real(self, images: Tensor, params: AugmentParams, weights: Tensor) -> Tensor:
        """(G, B, C, H, W), weights (G, B) -> weighted sums of features (G, D)."""
        features = self._embed(self._real_network, images.to(self.master), params, self.dtype)
        return (features.to(self.master) * weights[..., None]).sum(1)

    def _synthetic_loss(
        self, pixels: Tensor, params: AugmentParams, targets: Tensor, prefix_weights: Tensor | None
    ) -> Tensor:
        """(G, ipc, C, H, W), targets (G, D) -> the summed matching loss, differentiable in the pixels."""
        return matching_loss(targets, self._embed(self.network, pixels, params, self.master), prefix_weights)

    def _embed(self, network: nn.Module, x: Tensor, params: AugmentParams, dtype: torch.dtype) -> Tensor:
        flat = self.augment.apply(x, params).flatten(0, 1)
        channels_last = flat.to(dtype).contiguous(memory_format=torch.channels_last)
        features = network.embed(channels_last)  # type: ignore[operator]
        return features.view(*x.shape[:2], -1)
