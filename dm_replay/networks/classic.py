"""The other networks of the condensation papers, for small images: MLP, LeNet, AlexNet, VGG-11 and ResNet-18."""

from collections.abc import Collection
from math import prod
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from .convnet import LEAST, MAP_NORMS, AvgPool, Network, PaddedConv2d, first_padding

__all__ = ["AlexNet", "LeNet", "MLP", "ResNet18", "VGG11"]


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


KERNEL = 5
UNPADDED = 16  # pixels a side, from which two convolutions and two poolings leave something without padding


class LeNet(Network):
    """Two convolutions of 5 × 5 (6 and 16 channels), each halved by max pooling, then linear layers of 120 and 84.

    Args:
        image_shape: (C, H, W), of any size from 8 × 8. Below 16 pixels the convolutions are padded to keep
            the size; 28 × 28 are padded to 32 × 32 by the first one.
        classes: width of the head.
    """

    smallest = 8

    def __init__(self, image_shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.check_size(image_shape)
        channels, height, width = image_shape
        padding = 0 if min(height, width) >= UNPADDED else KERNEL // 2
        first = first_padding(image_shape, padding)
        for padded in (first, padding):
            height, width = ((side + 2 * padded - KERNEL + 1) // 2 for side in (height, width))
        layers: list[nn.Module] = []
        for inside, outside, padded in ((channels, 6, first), (6, 16, padding)):
            layers += [nn.Conv2d(inside, outside, KERNEL, padding=padded), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        layers.append(nn.Flatten())
        for inside, outside in ((16 * height * width, 120), (120, 84)):
            layers += [nn.Linear(inside, outside), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(84, classes)


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


NORMS = {name: MAP_NORMS[name] for name in ("instance", "batch")}
STRIDES = ("conv", "pool")
TIMES = (1, 2, 4, 8)  # channels of a stage, by the first one's


class ResNet18(Network):
    """A 3×3 convolution, four stages of two residual blocks, then a linear head.

    Each stage but the first halves the maps, as far as 2 × 2 are left.

    Args:
        image_shape: (C, H, W), of any size from 8 × 8. classes: width of the head.
        width: channels of the first stage: 64, or 20 for the reduced network of the online-learning papers.
        norm: instance or batch.
        strides: ``conv``, by convolutions, and the head sees the mean of each map; or ``pool``, by average pooling, and
            the head sees the last maps whole (the papers' ResNet-AP, from which gradients reach every pixel evenly).
    """

    options: ClassVar[dict[str, Collection[str] | None]] = {"norm": NORMS, "strides": STRIDES, "width": None}
    smallest = 8

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        width: int = 64,
        norm: str = "instance",
        strides: str = "conv",
    ):
        super().__init__()
        self.check(width=width, norm=norm, strides=strides)
        self.check_size(image_shape)
        normed, pooled, (height, across) = NORMS[norm], strides == "pool", image_shape[1:]
        layers: list[nn.Module] = [_conv(image_shape[0], width), normed(width), nn.ReLU(inplace=True)]
        channels = width
        for stage, times in enumerate(TIMES):
            halved = stage > 0 and min(height, across) // 2 >= LEAST
            if halved:
                height, across = (side // 2 if pooled else -(-side // 2) for side in (height, across))
            layers += [_Block(channels, times * width, halved, normed, pooled)]
            channels = times * width
            layers += [_Block(channels, channels, False, normed, pooled)]
        self.features = nn.Sequential(*layers, *([] if pooled else [nn.AdaptiveAvgPool2d(1)]), nn.Flatten())
        self.classifier = nn.Linear(channels * (height * across if pooled else 1), classes)
        self.batch_statistics = norm == "batch"


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, halved: bool, normed, pooled: bool):
        super().__init__()
        stride = 2 if halved and not pooled else 1
        pooling = [AvgPool()] if halved and pooled else []
        self.branch = nn.Sequential(
            _conv(inside, outside, stride),
            normed(outside),
            nn.ReLU(inplace=True),
            *pooling,
            _conv(outside, outside),
            normed(outside),
        )
        self.shortcut: nn.Module = nn.Identity()
        if halved or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), *pooling, normed(outside))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.shortcut(x))


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
