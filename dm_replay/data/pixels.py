"""Pixels before they are drawn: which axis holds the channels, which size they are kept at, and their affine map."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "ChannelMap",
    "LAYOUTS",
    "averaged",
    "check_finite",
    "check_normalization",
    "check_planar",
    "check_units",
    "planar",
    "together",
    "usual_size",
    "within",
]

# Images looked at or shrunk at a time, and pixels: all at once would take half as much memory again as they do; large
# ones in tensors of less than 32 MiB would leave holes between those that are kept.
TOGETHER, PIXELS = 256, 64 * 224 * 224
SIDE = 8  # pixels
LAYOUTS = "(N, C, H, W), (N, H, W, C) or (N, H, W)"
# Condensing takes time and memory by the pixel: 64 x 64 four times those of 32 x 32, of which two cores do an iteration
# of two classes in 0.37 s, and 224 x 224 49 times. Reasoned from these.
WHOLE = 64 * 64  # pixels
STEP = 8  # pixels that sides are multiples of, so that codes of few bits and coarse color fit them


def planar(images: Tensor, where: object) -> Tensor:
    """Images (N, C, H, W), (N, H, W, C) or (N, H, W) as (N, C, H, W), without a copy.

    The channels are the one of the axes 1 and 3 that is 1 or 3 long; else the one that leaves square images; else the
    one that is at most half as long as each side of the images it leaves.

    Raises:
        ValueError: where both axes could be the channels, the images have no pixels, or neither 3 nor 4 axes; it names
            ``where``.
    """
    if 0 in images.shape[1:]:
        raise ValueError(f"{where}: expected images of at least one pixel, got {tuple(images.shape)}")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise ValueError(f"{where}: expected images {LAYOUTS}, got {tuple(images.shape)}")
    return images.permute(0, 3, 1, 2) if _channels_last(tuple(images.shape), where) else images


def check_planar(shape: Sequence[int]) -> None:
    """ValueError for an image that is surely (H, W, C), though (C, H, W) is expected.

    That is one whose last axis alone has the length of gray or color, 1, 3 or 4, beside two that are equal, or, since
    a picture three or four pixels wide of many channels is none, at least :data:`SIDE` long.
    """
    first, second, last = shape
    square, long = first == second, min(first, second) >= SIDE
    if first > 4 and ((last in (1, 3, 4) and square) or (last in (3, 4) and long)):
        given = tuple(shape)
        raise ValueError(f"expected images (C, H, W), got {given}, which is (H, W, C): permute their axes by (2, 0, 1)")


def _channels_last(shape: tuple[int, ...], where: object) -> bool:
    one, two, three = shape[1:]
    readings = (one, (two, three)), (three, (one, two))
    rules = (
        lambda channels, sides: channels in (1, 3),
        lambda channels, sides: sides[0] == sides[1],
        lambda channels, sides: 2 * channels <= min(sides),
    )
    for rule in rules:
        first, last = (rule(*reading) for reading in readings)
        if first != last:
            return last
        if first and rule is rules[0]:
            break
    raise ValueError(
        f"{where}: cannot tell which axis of images {shape} holds the channels; "
        "give them as a TensorPool of a tensor (N, C, H, W)"
    )


def usual_size(height: int, width: int) -> tuple[int, int]:
    """(h, w): images of up to 64 · 64 pixels whole, larger ones shrunk to about that, each side by the same factor.

    >>> from dm_replay.data.pixels import usual_size
    >>> usual_size(64, 64), usual_size(1, 128), usual_size(224, 224), usual_size(180, 320)
    ((64, 64), (1, 128), (64, 64), (48, 88))
    """
    if height * width <= WHOLE:
        return height, width
    factor = math.sqrt(WHOLE / (height * width))
    first, second = (min(side, STEP * max(1, round(side * factor / STEP))) for side in (height, width))
    return first, second


def within(height: int, width: int, longest: int) -> tuple[int, int]:
    """(h, w): shrunk so that the longest side has so many pixels; as they are where it has no more.

    >>> from dm_replay.data.pixels import within
    >>> within(180, 320, 128), within(32, 32, 128)
    ((72, 128), (32, 32))
    """
    largest = max(height, width)
    if largest <= longest:
        return height, width
    first, second = (max(1, round(side * longest / largest)) for side in (height, width))
    return first, second


def averaged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (N, C, H, W) shrunk to (h, w) by averaging; integers are rounded."""
    if tuple(images.shape[2:]) == tuple(size):
        return images
    parts = (F.adaptive_avg_pool2d(part.float(), size) for part in images.split(together(images.shape[1:])))
    return torch.cat([part if images.is_floating_point() else part.round().to(images.dtype) for part in parts])


def check_normalization(channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """ValueError unless there is a value for each channel, where any are given, and :func:`check_units` takes them."""
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise ValueError(f"expected {channels} values of {name}, one for each channel, got {len(values)}")
    if std is not None and not min(std) > 0:
        raise ValueError(f"std must be above 0 in every channel, got {tuple(std)}")
    check_units(mean, std)


def check_units(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """ValueError for values that pixels of [0, 1] cannot have, as those of bytes are."""
    for name, values in (("mean", mean), ("std", std)):
        for value in values or ():
            if not 0 <= value <= 1:
                hint = "divide mean and std of bytes by 255"
                raise ValueError(f"{name} is in units of pixels from 0 to 1, got {value:g}: {hint}")


def check_finite(images: Tensor, labels: Tensor) -> None:
    """ValueError for NaN or infinite values."""
    finite = [part.isfinite().flatten(1).all(1) for part in images.split(together(images.shape[1:]))]
    bad = (~torch.cat(finite)).nonzero()[:, 0]
    if len(bad):
        first = f"image {int(bad[0])} of class {int(labels[bad[0]])}"
        raise ValueError(f"{len(bad)} images hold NaN or infinite values, the first is {first}")


def together(shape: tuple[int, ...]) -> int:
    """How many images (C, H, W) are looked at, or shrunk, at a time."""
    return max(1, min(TOGETHER, PIXELS // math.prod(shape[1:])))


class ChannelMap:
    """(v − mean) / std per channel, where v is a stored value or, of uint8 pixels, pixel / 255.

    >>> import torch
    >>> from dm_replay.data.pixels import ChannelMap
    >>> ChannelMap([2.0], [4.0]).then([0.5], [2.0])(torch.full((1, 1, 1), 12.0)).item()  # (12 - 2) / 4 - 0.5, halved
    1.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = tuple(mean), tuple(std)
        self._tensors: dict[torch.device, tuple[Tensor, ...]] = {}

    def then(self, mean: Sequence[float], std: Sequence[float]) -> "ChannelMap":
        """This one, and (x − mean) / std of what it gives."""
        center = (shift + scale * m for shift, scale, m in zip(self.mean, self.std, mean, strict=True))
        return ChannelMap(tuple(center), tuple(scale * s for scale, s in zip(self.std, std, strict=True)))

    def __call__(self, images: Tensor) -> Tensor:
        """Stored (…, C, H, W) -> float32, a copy."""
        mean, std, factor, shift = self._on(images.device)
        if images.dtype == torch.uint8:
            return images.float() * factor + shift
        return (images - mean).div_(std)  # floats may lie far from 0, where only x − mean is exact

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        """(C, 1, 1) each; made once, since making them waits for the device."""
        if device not in self._tensors:
            mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
            self._tensors[device] = tuple(t.to(device) for t in (mean, std, 1 / (255 * std), -mean / std))
        return self._tensors[device]
