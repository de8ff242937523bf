"""Drawing a network's parameters anew, in place."""

import torch
from torch import nn

__all__ = ["reset"]


@torch.no_grad()
def reset(network: nn.Module, generator: torch.Generator) -> None:
    """Give every layer the distribution that its constructor draws from, out of one call of the generator.

    Convolutions and linear layers: weights and biases uniform in ±1/√fan_in (PyTorch's default). Normalization
    layers: weight 1, bias 0, running statistics reset. In place, so that a captured or compiled step stays valid; the
    values are drawn on the generator's device and copied to the network's.

    Raises:
        ValueError: for a layer whose distribution is not known here.

    >>> import torch
    >>> from dm_replay.networks import build_network, reset
    >>> networks = [build_network("convnet:width=8", (3, 8, 8), 10, seed=seed) for seed in (0, 1)]
    >>> for network in networks:
    ...     reset(network, torch.Generator().manual_seed(5))
    >>> torch.equal(networks[0].classifier.weight, networks[1].classifier.weight)
    True
    """
    drawn, bounds = [], []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            parameters = [p for p in (module.weight, module.bias) if p is not None]
            drawn += parameters
            bounds += [module.weight[0].numel() ** -0.5] * len(parameters)
        elif hasattr(module, "reset_parameters"):
            if not isinstance(module, nn.GroupNorm | nn.LayerNorm | nn.BatchNorm2d):
                raise ValueError(f"cannot re-initialize a {type(module).__name__}: its distribution is not known here")
            module.reset_parameters()
    sizes = [p.numel() for p in drawn]
    noise = torch.rand(sum(sizes), generator=generator, device=generator.device).mul_(2).sub_(1)
    pieces = noise.to(drawn[0].device).split(sizes)
    torch._foreach_copy_(drawn, [piece.view_as(p) for piece, p in zip(pieces, drawn, strict=True)])
    torch._foreach_mul_(drawn, bounds)
