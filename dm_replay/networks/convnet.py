"""The ConvNet of the condensation papers (Gidaris & Komodakis 2018; Zhao et al. 2021)."""

from collections.abc import Collection
from typing import ClassVar

from torch import nn

from .base import AvgPool, InstanceNorm, Network, PaddedConv2d, first_padding

__all__ = ["ConvNet"]

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
