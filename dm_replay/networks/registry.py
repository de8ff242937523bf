"""Names of network families and their options, as they are written on a command line."""

from typing import Any

from ..runtime.seeding import isolated
from .base import Network
from .convnet import ConvNet
from .lenet import LeNet
from .mlp import MLP
from .resnet import ResNet18
from .stacked import VGG11, AlexNet

__all__ = ["build_network", "names", "parse"]

FAMILIES: dict[str, type[Network]] = {
    "alexnet": AlexNet,
    "convnet": ConvNet,
    "lenet": LeNet,
    "mlp": MLP,
    "resnet18": ResNet18,
    "vgg11": VGG11,
}


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
