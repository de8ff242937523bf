"""What the networks have in common: features, and a linear head over them."""

from collections.abc import Callable, Collection
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from .instance_norm import InstanceNorm
from .options import check_option

__all__ = ["LEAST", "MAP_NORMS", "Network", "PaddedConv2d", "first_padding"]

LEAST = 2  # pixels a side that a map needs for a normalization to tell images apart

MAP_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "instance": InstanceNorm,
    "batch": nn.BatchNorm2d,
    "none": lambda channels: nn.Identity(),
}


class Network(nn.Module):
    """features (N, C, H, W) -> (N, D), then a linear classifier (N, D) -> (N, classes).

    Attributes:
        options: those of its name, with their choices; None: whole numbers from 1.
        smallest: pixels a side of the images that it needs.
        batch_statistics: whether an image's features depend on the rest of its batch.
    """

    options: ClassVar[dict[str, Collection[str] | None]] = {}
    smallest: ClassVar[int] = 1
    features: nn.Sequential
    classifier: nn.Linear
    batch_statistics = False

    @classmethod
    def check(cls, **options: int | str) -> None:
        """ValueError for a value that an option cannot have with any images."""
        for name, value in options.items():
            check_option(name, value, cls.options[name])

    @classmethod
    def check_size(cls, image_shape: tuple[int, int, int]) -> None:
        """ValueError for images that are too small."""
        height, width = image_shape[1:]
        if min(height, width) < cls.smallest:
            least = f"{cls.smallest}x{cls.smallest}"
            raise ValueError(f"{cls.__name__.lower()} needs images of at least {least}, got {height}x{width}")

    def embed(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D): what the classifier sees."""
        return self.features(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.embed(x))


def first_padding(image_shape: tuple[int, int, int], usual: int) -> int:
    """Of the first convolution: two more for images of 28 × 28, which so become 32 × 32."""
    return usual + 2 if tuple(image_shape[1:]) == (28, 28) else usual


class PaddedConv2d(nn.Conv2d):
    """A convolution of square kernels that pads the image itself where its padding reaches beyond the kernel.

    oneDNN has only a slow one for that: a ConvNet-128's training step on 100 images of 28 × 28, compiled, in bfloat16,
    took 0.084 s on two AVX-512 cores, and takes 0.052 s so.
    """

    def forward(self, x: Tensor) -> Tensor:
        padding = int(self.padding[0])
        if padding <= self.kernel_size[0] // 2:
            return super().forward(x)
        return F.conv2d(F.pad(x, [padding] * 4), self.weight, self.bias, self.stride)
