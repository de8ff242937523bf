"""What the networks have in common: features, a linear head over them, and layers that suit the machine."""

from collections.abc import Callable, Collection
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime import hardware

__all__ = ["LEAST", "MAP_NORMS", "AvgPool", "InstanceNorm", "Network", "PaddedConv2d", "first_padding"]

LEAST = 2  # pixels a side that a map needs for a normalization to tell images apart
WIDEST = 65_536
SMALL = 32 * 32  # pixels; PyTorch takes larger maps through a faster kernel


class InstanceNorm(nn.GroupNorm):
    """Each channel of each image by itself: (N, C, H, W) -> (N, C, H, W); weights and names are ``GroupNorm``'s.

    PyTorch normalizes small channels-last maps on the CPU channel by channel, value by value: half of an uncompiled
    step on 8x8 images. From their moments it is five times as fast (10.5 and 2.2 ms for 290 x 128 x 8 x 8 on one core).
    So they are, where no gradient is asked for, on CPUs without bfloat16 instructions; on others the same seed goes on
    giving the same pixels as ever.
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self._from_moments(x) if self._worth_it(x) else super().forward(x)

    def _worth_it(self, x: Tensor) -> bool:
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or x.device.type != "cpu":
            return False
        small = x.shape[2] * x.shape[3] < SMALL and x.is_contiguous(memory_format=torch.channels_last)
        return small and not hardware.has_bfloat16()

    def _from_moments(self, x: Tensor) -> Tensor:
        """E[x²] − E[x]² for the variance, as PyTorch's own kernel has it."""
        mean = x.mean((2, 3), keepdim=True)
        variance = (x.square().mean((2, 3), keepdim=True) - mean.square()).clamp_min_(0)
        scale = (variance + self.eps).rsqrt_() * self.weight[:, None, None]
        return torch.addcmul(self.bias[:, None, None] - mean * scale, x, scale)


class AvgPool(nn.AvgPool2d):
    """The mean of each 2×2 square: (N, C, H, W) -> (N, C, H // 2, W // 2).

    What ``torch.compile`` makes of PyTorch's own pooling on a CPU computes each index of its gradient; a mean over a
    view has none to compute. A ConvNet-128's training step on 64 images of 32×32: 0.105 and 0.087 s for 256 of them.
    On a GPU what comes before is written whole for PyTorch's own, and read again; before a mean it is not.
    """

    def __init__(self):
        super().__init__(2)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling() or x.shape[2] % 2 or x.shape[3] % 2:
            return super().forward(x)
        return x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))


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
            choices = cls.options[name]
            if choices is not None and value not in choices:
                raise ValueError(f"unknown {name} {value!r}; choose from {', '.join(sorted(choices))}")
            if choices is None and not (isinstance(value, Integral) and 1 <= value <= WIDEST):
                raise ValueError(f"{name} must be a whole number from 1 to {WIDEST}, got {value}")

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
