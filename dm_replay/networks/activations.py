"""What a network's activations take, asked of the network itself."""

import torch
from torch import Tensor, nn

from .registry import build_network

__all__ = ["activation_values"]


def activation_values(network: str, image_shape: tuple[int, int, int]) -> int:
    """Values that one image (C, H, W) has at a time in the widest layer: what goes in and what comes out, and half as
    much again for what the layer before has not given back yet.

    Nothing is computed: the network is built without memory.

    >>> from dm_replay.networks.activations import activation_values
    >>> activation_values("convnet:width=128", (3, 32, 32)) == 3 * 128 * 32 * 32
    True
    """
    widest = 0

    def note(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal widest
        widest = max(widest, given[0].numel() + result.numel())

    with torch.device("meta"), torch.no_grad():
        built = build_network(network, image_shape, 1)
        for module in built.modules():
            if not list(module.children()):
                module.register_forward_hook(note)
        built.embed(torch.zeros(1, *image_shape))
    return widest * 3 // 2
