"""Networks that stack convolutions: AlexNet (Krizhevsky et al. 2012) and VGG-11 (Simonyan & Zisserman 2015), for small
images as the condensation papers have them."""

from collections.abc import Collection
from typing import ClassVar

from torch import nn

from .base import LEAST, MAP_NORMS, Network, PaddedConv2d, first_padding

__all__ = ["VGG11", "AlexNet"]


class Stacked(Network):
    """Convolutions of odd kernels that keep the size, each [conv, norm, ReLU], halved in places, then a linear head.

    A halving that would leave single pixels to normalize is left out: only the last may.

    Args:
        image_shape: (C, H, W), of any size from 8 × 8; 28 × 28 are padded to 32 × 32 by the first convolution.
        classes: width of the head. norm: instance, batch or none.
    """

    options: ClassVar[dict[str, Collection[str] | None]] = {"norm": MAP_NORMS}
    smallest = 8
    convolutions: ClassVar[tuple[tuple[int, int, bool], ...]]  # channels, kernel, whether halved after it

    def __init__(self, image_shape: tuple[int, int, int], classes: int, norm: str = "instance"):
        super().__init__()
        self.check(norm=norm)
        self.check_size(image_shape)
        channels = image_shape[0]
        height, width = (side + 2 * first_padding(image_shape, 0) for side in image_shape[1:])
        layers: list[nn.Module] = []
        for number, (outside, kernel, halved) in enumerate(self.convolutions):
            padding = first_padding(image_shape, kernel // 2) if number == 0 else kernel // 2
            layers += [PaddedConv2d(channels, outside, kernel, padding=padding)]
            layers += [MAP_NORMS[norm](outside), nn.ReLU(inplace=True)]
            last = number == len(self.convolutions) - 1
            if halved and min(height, width) // 2 >= (1 if last else LEAST):
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            channels = outside
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.classifier = nn.Linear(channels * height * width, classes)
        self.batch_statistics = norm == "batch"


class AlexNet(Stacked):
    """Five convolutions of 128 to 256 channels, halved three times; see :class:`Stacked`."""

    convolutions = ((128, 5, True), (192, 5, True), (256, 3, False), (192, 3, False), (192, 3, True))


class VGG11(Stacked):
    """Eight convolutions of 3 × 3 and 64 to 512 channels, halved five times; see :class:`Stacked`."""

    convolutions = (
        (64, 3, True),
        (128, 3, True),
        (256, 3, False),
        (256, 3, True),
        (512, 3, False),
        (512, 3, True),
        (512, 3, False),
        (512, 3, True),
    )
