"""ResNet-18 for small images (He et al. 2016, the CIFAR variant of the condensation and online-learning papers)."""

from collections.abc import Collection
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from .instance_norm import InstanceNorm
from .options import check_option

__all__ = ["ResNet18"]

NORMS = {"instance": InstanceNorm, "batch": nn.BatchNorm2d}
STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels by the first stage's, stride
SMALLEST = 8  # pixels a side; the stages halve it three times


class ResNet18(nn.Module):
    """A 3×3 convolution, four stages of two residual blocks, the mean over each map, then a linear head.

    Args:
        image_shape: (C, H, W), of any size from 8 × 8. classes: width of the head.
        width: channels of the first stage: 64, or 20 for the reduced network of the online-learning papers.
        norm: instance or batch.
    """

    options: ClassVar[dict[str, Collection[str] | None]] = {"norm": NORMS, "width": None}

    def __init__(self, image_shape: tuple[int, int, int], classes: int, width: int = 64, norm: str = "instance"):
        super().__init__()
        self.check(width=width, norm=norm)
        if min(image_shape[1:]) < SMALLEST:
            raise ValueError(f"resnet18 needs images of at least 8x8, got {image_shape[1]}x{image_shape[2]}")
        normed = NORMS[norm]
        layers: list[nn.Module] = [_conv(image_shape[0], width), normed(width), nn.ReLU(inplace=True)]
        channels = width
        for times, stride in STAGES:
            layers += [_Block(channels, times * width, stride, normed), _Block(times * width, times * width, 1, normed)]
            channels = times * width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, classes)
        self.batch_statistics = norm == "batch"

    @classmethod
    def check(cls, **options: int | str) -> None:
        """ValueError for a value that an option cannot have with any images."""
        for name, value in options.items():
            check_option(name, value, cls.options[name])

    def embed(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 8 · width): the mean over each map of the last stage."""
        return self.features(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, normed):
        super().__init__()
        self.branch = nn.Sequential(
            _conv(inside, outside, stride),
            normed(outside),
            nn.ReLU(inplace=True),
            _conv(outside, outside),
            normed(outside),
        )
        same = inside == outside and stride == 1
        self.shortcut: nn.Module = nn.Identity()
        if not same:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), normed(outside))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.branch(x) + self.shortcut(x))


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
