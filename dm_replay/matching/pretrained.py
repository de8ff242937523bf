"""A network that the user has trained already, as the embedding of a condensation."""

import copy

import torch
from torch import Tensor, nn

from ..condensed.mosaic import enlarge
from .extractors import TrainedNetworks, read_flat

__all__ = ["PretrainedExtractor", "Enlarged", "as_trained"]


class PretrainedExtractor(nn.Module):
    """A copy of a network for evaluation: its features are what the linear layer that it calls last is given.

    Args:
        network: normalized images (N, C, H, W) -> logits (N, L), one for each class number.
        shape: (C, H, W) of an image. classes: (G,) whose logits count.

    Raises:
        ValueError: for a network without such a layer, or one that has no output for some class.

    >>> import torch
    >>> from torch import nn
    >>> from dm_replay.matching.pretrained import PretrainedExtractor
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> borrowed = PretrainedExtractor(network, (3, 2, 2), torch.tensor([0, 2]))
    >>> features = borrowed.embed(torch.rand(4, 3, 2, 2))
    >>> features.shape, borrowed.classifier(features).shape
    (torch.Size([4, 5]), torch.Size([4, 2]))
    """

    batch_statistics = False

    def __init__(self, network: nn.Module, shape: tuple[int, int, int], classes: Tensor):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._given: Tensor | None = None
        last, features = _last_linear(self.network, shape)
        if features.ndim != 2:
            raise ValueError(f"the network's last linear layer is given {tuple(features.shape)}, not (N, D)")
        if int(classes.max()) >= last.out_features:
            raise ValueError(
                f"the network's last linear layer has {last.out_features} outputs, none for class {int(classes.max())}"
            )
        self.classifier = nn.Linear(last.in_features, len(classes), bias=last.bias is not None)
        for own, whole in zip(self.classifier.parameters(), last.parameters(), strict=True):
            own.data = whole.detach()[classes.to(whole.device)].clone()
        last.register_forward_pre_hook(self._keep)

    def train(self, mode: bool = True) -> "PretrainedExtractor":
        """It stays as it is for evaluation."""
        return super().train(False)

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D)."""
        self.network(images)
        features, self._given = self._given, None
        assert features is not None
        return features

    def _keep(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._given = given[0]


class Enlarged(nn.Module):
    """A network of larger images (H, W), for images that were shrunk."""

    def __init__(self, network: nn.Module, size: tuple[int, int], enlarging: str):
        super().__init__()
        self.network, self.size, self.enlarging = network, size, enlarging

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, h, w) -> what the network gives for (N, C, H, W)."""
        return self.network(enlarge(images, self.size, self.enlarging))


def as_trained(network: nn.Module) -> TrainedNetworks:
    """A network as it is, with nothing to mix it with."""
    flat = read_flat(network)[None]
    return TrainedNetworks(flat, flat)


@torch.no_grad()
def _last_linear(network: nn.Module, shape: tuple[int, int, int]) -> tuple[nn.Linear, Tensor]:
    """The linear layer that is called last, and what it is given for two images."""
    calls: list[tuple[nn.Linear, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, given: calls.append((module, given[0])))
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    parameter = next(network.parameters(), torch.empty(0))
    network(torch.zeros(2, *shape, device=parameter.device, dtype=parameter.dtype))
    for hook in hooks:
        hook.remove()
    if not calls:
        raise ValueError(f"a {type(network).__name__} calls no linear layer whose input could be its features")
    return calls[-1]
