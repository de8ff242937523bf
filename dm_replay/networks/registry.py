"""Networks by name, built, drawn anew and asked what their activations take."""

from typing import Any

import torch
from torch import Tensor, nn

from ..runtime.engine import Activations
from ..runtime.seeding import isolated
from .classic import MLP, VGG11, AlexNet, LeNet, ResNet18
from .convnet import ConvNet, Network

__all__ = ["activation_values", "build_network", "check_buildable", "names", "parse", "reset"]

FAMILIES: dict[str, type[Network]] = {
    "alexnet": AlexNet,
    "convnet": ConvNet,
    "lenet": LeNet,
    "mlp": MLP,
    "resnet18": ResNet18,
    "vgg11": VGG11,
}
AUGMENTED = 60  # values per pixel: where resampling and its gradient read an image that is augmented on its own
COPIES = 10  # values per pixel and channel: what augmenting keeps for the gradient and passes through


def names() -> list[str]:
    """The known families."""
    return sorted(FAMILIES)


def parse(text: str) -> tuple[str, dict[str, int | str]]:
    """The family and the options of a network's name.

    Raises:
        ValueError: for an unknown family or option, or a value that the option cannot have.

    >>> from dm_replay.networks import parse
    >>> parse("convnet:norm=batch,depth=4")
    ('convnet', {'norm': 'batch', 'depth': 4})
    """
    name, _, rest = text.partition(":")
    if name not in FAMILIES:
        raise ValueError(f"unknown network {name!r}; choose from {', '.join(names())}")
    options: dict[str, int | str] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"network option {item!r} should read name=value")
        options[key] = int(value) if value.isdecimal() else value
    _check_known(name, options)
    FAMILIES[name].check(**options)
    return name, options


def _check_known(family: str, options: dict[str, Any]) -> None:
    known = FAMILIES[family].options
    unknown = set(options) - set(known)
    if unknown:
        choices = f"choose from {', '.join(known)}" if known else "it has none"
        raise ValueError(f"unknown option {min(unknown)!r} of {family}; {choices}")


def build_network(name: str, image_shape: tuple[int, int, int], classes: int, *, seed: int = 0, **options) -> Network:
    """A network for images of ``image_shape`` (C, H, W).

    Args:
        name: a family, with options if you like: ``"convnet"``, ``"convnet:norm=batch,depth=4"``.
        classes: width of the linear head.
        seed: of the initial parameters; the global generator is left alone.

    Returns:
        A module with ``embed(x)`` (N, C, H, W) -> (N, D) features and ``forward(x)`` -> (N, classes) logits, and the
        attribute ``batch_statistics``: whether an image's features depend on the rest of its batch.

    Raises:
        ValueError: for an unknown family or option, or one that does not fit the images.

    >>> import torch
    >>> from dm_replay import build_network
    >>> network = build_network("convnet:width=16,norm=batch", (3, 32, 32), classes=10)
    >>> x = torch.rand(2, 3, 32, 32)
    >>> network(x).shape, network.embed(x).shape
    (torch.Size([2, 10]), torch.Size([2, 256]))
    """
    family, written = parse(name)
    _check_known(family, options)
    with isolated(seed, "network"):
        return FAMILIES[family](image_shape, classes, **{**written, **options})  # type: ignore[call-arg]


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


def activation_values(network: str | nn.Module, image_shape: tuple[int, int, int]) -> Activations:
    """Values that one image (C, H, W) needs in a network, in the two kinds of work.

    Without a gradient those of the widest layer, what goes in and what comes out, and half as much again for what the
    layer before has not given back yet. With one what all layers give is kept, the widest layer's come on the way back,
    and augmenting has its own. The peaks of six families were 0.4 to 1.3 times that.

    Args:
        network: its name, which is built without memory; or a module with ``embed``, which is asked by an image.

    >>> from dm_replay.networks import activation_values
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


def check_buildable(name: str, shape: tuple[int, int, int]) -> None:
    """ValueError unless such a network can be built for such images."""
    try:
        with torch.device("meta"):
            build_network(name, shape, 1)
    except ValueError as error:
        raise ValueError(f"network {name!r}: {error}") from error
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
        raise ValueError(f"network {name!r} cannot be built: {reason}") from error
