"""ResNet-18 for small images (He et al. 2016, the CIFAR variant of the condensation and online-learning papers)."""

from collections.abc import Collection
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from .base import LEAST, MAP_NORMS, Network
from .pooling import AvgPool

__all__ = ["ResNet18"]

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
