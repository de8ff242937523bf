"""What a network's activations take, asked of the network itself."""

import torch
from torch import Tensor, nn

from ..runtime.engine import Activations
from .registry import build_network

__all__ = ["activation_values"]

AUGMENTED = 60  # values per pixel: where resampling and its gradient read an image that is augmented on its own
COPIES = 10  # values per pixel and channel: what augmenting keeps for the gradient and passes through


def activation_values(network: str | nn.Module, image_shape: tuple[int, int, int]) -> Activations:
    """Values that one image (C, H, W) needs in a network, in the two kinds of work.

    Without a gradient those of the widest layer, what goes in and what comes out, and half as much again for what the
    layer before has not given back yet. With one what all layers give is kept, the widest layer's come on the way back,
    and augmenting has its own. The peaks of six families were 0.4 to 1.3 times that.

    Args:
        network: its name, which is built without memory; or a module with ``embed``, which is asked by an image.

    >>> from dm_replay.networks.activations import activation_values
    >>> activation_values("convnet:width=128", (3, 32, 32)).forward == 3 * 128 * 32 * 32
    True
    """
    if isinstance(network, nn.Module):
        parameter = next(network.parameters(), torch.empty(0))
        return _asked(network, torch.zeros(1, *image_shape, device=parameter.device, dtype=parameter.dtype))
    with torch.device("meta"):
        return _asked(build_network(network, image_shape, 1), torch.zeros(1, *image_shape))


@torch.no_grad()
def _asked(network: nn.Module, image: Tensor) -> Activations:
    widest = kept = 0

    def note(module: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        nonlocal widest, kept
        widest = max(widest, given[0].numel() + result.numel())
        if not getattr(module, "inplace", False) and not isinstance(module, nn.Flatten | nn.Identity):
            kept += result.numel()

    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(note) for module in leaves]
    try:
        network.embed(image)  # type: ignore[operator]
    finally:
        for hook in hooks:
            hook.remove()
    pixels = image.shape[2] * image.shape[3]
    augmented = (AUGMENTED + COPIES * image.shape[1]) * pixels
    return Activations(widest * 3 // 2, kept + widest + augmented)
