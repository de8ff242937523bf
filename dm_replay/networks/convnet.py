"""What the networks have in common, and the papers' ConvNet (Gidaris & Komodakis 2018; Zhao et al. 2021)."""

from collections.abc import Callable, Collection
from numbers import Integral
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..runtime import hardware

__all__ = ["AvgPool", "ConvNet", "InstanceNorm", "LEAST", "MAP_NORMS", "Network", "PaddedConv2d", "first_padding"]

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


GROUPS = 4  # of norm=group
DEEPEST = 100  # blocks, where no pooling sets an end to them
ACTIVATIONS = {
    "relu": lambda: nn.ReLU(inplace=True),
    "leakyrelu": lambda: nn.LeakyReLU(0.01, inplace=True),
    "sigmoid": nn.Sigmoid,
    "swish": lambda: nn.SiLU(inplace=True),
}
NORMS = {
    "instance": lambda c, h, w: InstanceNorm(c),
    "group": lambda c, h, w: nn.GroupNorm(GROUPS, c),
    "layer": lambda c, h, w: nn.LayerNorm((c, h, w)),
    "batch": lambda c, h, w: nn.BatchNorm2d(c),
    "none": lambda c, h, w: nn.Identity(),
}
POOLINGS = {"avg": AvgPool, "max": lambda: nn.MaxPool2d(2), "none": nn.Identity}


class ConvNet(Network):
    """depth × [conv 3×3, norm, activation, pooling by 2], then a linear head.

    Args:
        image_shape: (C, H, W). Images of 28 × 28 are padded to 32 × 32 by the first convolution.
        classes: width of the head.
        depth: number of blocks; None takes 3 at 32 pixels, 4 at 64, and as many more or fewer as suit the image.
        width: channels of each block.
        activation: relu, leakyrelu, sigmoid or swish. norm: instance, batch, layer, group or none.
        pooling: avg, max or none.
    """

    options: ClassVar[dict[str, Collection[str] | None]] = {
        "activation": ACTIVATIONS,
        "depth": None,
        "norm": NORMS,
        "pooling": POOLINGS,
        "width": None,
    }

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        depth: int | None = None,
        width: int = 128,
        activation: str = "relu",
        norm: str = "instance",
        pooling: str = "avg",
    ):
        super().__init__()
        given = {} if depth is None else {"depth": depth}
        self.check(activation=activation, norm=norm, pooling=pooling, width=width, **given)
        channels, height, width_px = image_shape
        padding = first_padding(image_shape, 1)
        height, width_px = height + 2 * padding - 2, width_px + 2 * padding - 2
        halvings = min(height, width_px).bit_length() - 1
        depth = _usual_depth(halvings) if depth is None else depth
        deepest = DEEPEST if pooling == "none" else halvings
        if deepest < 1:
            size = f"{image_shape[1]}x{image_shape[2]}"
            raise ValueError(f"pooling does not fit {size} images: choose pooling=none, or the network mlp")
        if depth > deepest:
            raise ValueError(f"depth {depth} does not fit {image_shape[1]}x{image_shape[2]} images: 1 to {deepest}")

        blocks: list[nn.Module] = []
        for block in range(depth):
            blocks += [
                PaddedConv2d(channels, width, 3, padding=padding if block == 0 else 1),
                NORMS[norm](width, height, width_px),
                ACTIVATIONS[activation](),
                POOLINGS[pooling](),
            ]
            channels = width
            if pooling != "none":
                height, width_px = height // 2, width_px // 2
        self.features = nn.Sequential(*blocks, nn.Flatten())
        self.classifier = nn.Linear(width * height * width_px, classes)
        self.batch_statistics = norm == "batch"

    @classmethod
    def check(cls, **options: int | str) -> None:
        """ValueError for a value that an option cannot have with any images."""
        super().check(**options)
        if options.get("norm") == "group" and int(options.get("width", GROUPS)) % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS} where norm is group, got {options['width']}")


def _usual_depth(halvings: int) -> int:
    """The papers' 3 at 32 pixels and 4 at 64; on smaller images one less than fits, so that 2 × 2 are left."""
    return max(1, min(halvings - 1, 3) if halvings < 6 else halvings - 2)
