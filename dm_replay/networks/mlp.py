"""The multilayer perceptron of the condensation papers."""

from collections.abc import Collection
from math import prod
from typing import ClassVar

from torch import nn

from .base import Network

__all__ = ["MLP"]


class MLP(Network):
    """Two hidden layers with ReLU over the pixels, then a linear head.

    Args:
        image_shape: (C, H, W). classes: width of the head. width: of the hidden layers.
    """

    options: ClassVar[dict[str, Collection[str] | None]] = {"width": None}

    def __init__(self, image_shape: tuple[int, int, int], classes: int, width: int = 128):
        super().__init__()
        self.check(width=width)
        layers: list[nn.Module] = [nn.Flatten()]
        for inside in (prod(image_shape), width):
            layers += [nn.Linear(inside, width), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, classes)
