"""Augmentation drawn first, applied after: Siamese (DSA, Zhao & Bilen, ICML 2021), and crops of a mini-batch."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..runtime.hardware import cpu_by_default
from .kernels import color, cutout, warp

__all__ = ["AugmentParams", "CropFlip", "SiameseAugment"]


class AugmentParams(NamedTuple):
    """Drawn parameters, a row for each of G groups; the leading shape may be another.

    Attributes:
        matrix: (G, 2, 3), as :func:`warp` takes it.
        color: (G, 3), brightness, saturation and contrast, as :func:`color` takes them.
        box: (G, 4), top, bottom, left and right in pixels, as :func:`cutout` takes it.
    """

    matrix: Tensor
    color: Tensor
    box: Tensor

    def take(self, rows) -> "AugmentParams":
        """Those of some rows: whatever indexes a tensor's first dimensions."""
        return AugmentParams(*(part[rows] for part in self))

    def to(self, where: torch.device | torch.dtype | str) -> "AugmentParams":
        return AugmentParams(*(part.to(where) for part in self))


@dataclass(frozen=True)
class SiameseAugment:
    """One of ``families`` per group, with parameters drawn by :meth:`sample` and used by :meth:`apply`.

    Groups are classes while condensing (all images of a class share one draw, real and synthetic) and single images
    while training (G = N, B = 1).

    Args:
        families: out of color, crop, cutout, flip, scale, rotate; empty for no augmentation.
        brightness, saturation, contrast: strength of the three parts of ``color``: a shift of ±brightness/2, a factor
            in [0, saturation], a factor in [contrast, contrast + 1].
        crop: largest shift as a fraction of the side. cutout: side of the zeroed square, likewise.
        flip: probability. scale: largest zoom, each axis in [1/scale, scale]. rotate: largest angle in degrees.

    Raises:
        ValueError: for an unknown family, one given twice, or a strength out of its range.

    >>> import torch
    >>> from dm_replay import SiameseAugment
    >>> augment = SiameseAugment.parse("crop_flip")
    >>> real, synthetic = torch.rand(2, 7, 3, 8, 8), torch.rand(2, 5, 3, 8, 8)  # two classes
    >>> params = augment.sample(2, (8, 8), torch.Generator().manual_seed(0))
    >>> augment.apply(real, params).shape, augment.apply(synthetic, params).shape
    (torch.Size([2, 7, 3, 8, 8]), torch.Size([2, 5, 3, 8, 8]))
    """

    known: ClassVar[tuple[str, ...]] = ("color", "crop", "cutout", "flip", "scale", "rotate")

    families: tuple[str, ...] = known
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5
    crop: float = 0.125
    cutout: float = 0.5
    flip: float = 0.5
    scale: float = 1.2
    rotate: float = 15.0

    def __post_init__(self):
        for family in self.families:
            if family not in self.known:
                raise ValueError(f"unknown augmentation {family!r}; choose from {', '.join(self.known)}")
        if len(set(self.families)) < len(self.families):
            raise ValueError(f"expected each family once, got {', '.join(self.families)}")
        if not (0 <= self.crop <= 1 and 0 <= self.cutout <= 1 and 0 <= self.flip <= 1):
            raise ValueError(f"crop, cutout and flip must lie in [0, 1], got {self.crop}, {self.cutout}, {self.flip}")
        if not 1 <= self.scale <= 1.5 or not 0 <= self.rotate <= 45:
            raise ValueError(f"scale must lie in [1, 1.5] and rotate in [0, 45], got {self.scale}, {self.rotate}")

    @classmethod
    def parse(cls, text: str, flip_invariant: bool = True) -> "SiameseAugment":
        """``"color_crop_flip"`` -> those families at their usual strength; ``"none"`` or ``""`` -> nothing.

        ``"auto"`` is every family, but ``flip`` only where a mirror image means the same.
        """
        if text == "auto":
            return cls(tuple(family for family in cls.known if flip_invariant or family != "flip"))
        return cls(()) if text in ("", "none") else cls(tuple(text.split("_")))

    @property
    def name(self) -> str:
        return "_".join(self.families) or "none"

    def sample(self, groups: int, image_size: Sequence[int], generator: torch.Generator) -> AugmentParams:
        """Draw the parameters of ``groups`` augmentations for images of ``image_size`` (H, W), float32.

        The number of random values does not depend on what they come to mean, so a group's draw depends on its
        position alone. Drawn on the generator's device.
        """
        return self.resolve(*self.draw(groups, generator), image_size)

    def draw(self, groups: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The random values behind :meth:`sample`, in [0, 1): (groups,) for the family, (groups, 3) for the rest."""
        if not self.families:
            return torch.zeros(groups, device=generator.device), torch.zeros(groups, 3, device=generator.device)
        return (
            torch.rand(groups, generator=generator, device=generator.device),
            torch.rand(groups, 3, generator=generator, device=generator.device),
        )

    def resolve(self, choice: Tensor, u: Tensor, image_size: Sequence[int]) -> AugmentParams:
        """What random values, (G,) and (G, 3), come to mean. Makes no tensor from host data, as a CUDA graph asks."""
        zero, one = torch.zeros_like(choice), torch.ones_like(choice)
        values = dict.fromkeys(("xy", "x", "yx", "y", "brightness", "top", "bottom", "left", "right"), zero)
        values |= dict.fromkeys(("xx", "yy", "saturation", "contrast"), one)
        family = (choice * len(self.families)).long()
        for number, name in enumerate(self.families):
            for part, drawn in getattr(self, f"_{name}")(u.unbind(1), image_size).items():
                values[part] = torch.where(family == number, drawn, values[part])
        rows = torch.stack([torch.stack([values[part] for part in row], 1) for row in _MATRIX], 1)
        color, box = (torch.stack([values[part] for part in parts], 1) for parts in (_COLOR, _BOX))
        return AugmentParams(rows, color, box)

    def apply(self, x: Tensor, params: AugmentParams) -> Tensor:
        """Augment x (G, B, C, H, W), each group by its row of the parameters; differentiable in x."""
        if not self.families:
            return x
        params = params.to(torch.promote_types(x.dtype, torch.float32))
        if {"crop", "flip", "scale", "rotate"} & set(self.families):
            x = warp(x, params.matrix)
        if "color" in self.families:
            x = color(x, *params.color.unbind(1))
        if "cutout" in self.families:
            x = cutout(x, params.box)
        return x

    def _color(self, u, size):
        return {
            "brightness": (u[0] - 0.5) * self.brightness,
            "saturation": u[1] * self.saturation,
            "contrast": u[2] + self.contrast,
        }

    def _crop(self, u, size):
        reach_y, reach_x = (int(side * self.crop + 0.5) for side in size)
        return {
            "y": (u[0] * (2 * reach_y + 1)).floor() - reach_y,
            "x": (u[1] * (2 * reach_x + 1)).floor() - reach_x,
        }

    def _cutout(self, u, size):
        (top, bottom), (left, right) = (self._span(v, side) for v, side in zip(u, size, strict=False))
        return {"top": top, "bottom": bottom, "left": left, "right": right}

    def _span(self, u: Tensor, side: int) -> tuple[Tensor, Tensor]:
        """Where the zeroed square begins and ends along a side."""
        length = int(side * self.cutout + 0.5)
        start = (u * (side + 1 - length % 2)).floor() - length // 2
        return start, start + length

    def _flip(self, u, size):
        return {"xx": torch.where(u[0] < self.flip, -1.0, 1.0)}

    def _scale(self, u, size):
        low = 1 / self.scale
        return {"xx": low + u[0] * (self.scale - low), "yy": low + u[1] * (self.scale - low)}

    def _rotate(self, u, size):
        angle = (u[0] - 0.5) * 2 * math.radians(self.rotate)
        cos, sin = angle.cos(), angle.sin()
        return {"xx": cos, "xy": -sin, "yx": sin, "yy": cos}


_MATRIX = (("xx", "xy", "x"), ("yx", "yy", "y"))
_COLOR = ("brightness", "saturation", "contrast")
_BOX = ("top", "bottom", "left", "right")


@cpu_by_default
@dataclass(frozen=True)
class CropFlip:
    """Crops of padded images and mirror images of a whole mini-batch, distributed as torchvision's transforms.

    They are those of ``RandomCrop(size, padding)`` and ``RandomHorizontalFlip()``, each image's drawn on its own.

    Args:
        padding: pixels added on each side before an image of the old size is cut out. flip: whether half are mirrored.

    >>> import torch
    >>> from dm_replay.augment.siamese import CropFlip
    >>> augment, generator = CropFlip.parse("crop4_flip"), torch.Generator().manual_seed(0)
    >>> images = torch.rand(5, 3, 32, 32)
    >>> augment.apply(images, *augment.sample(5, generator), fill=torch.zeros(3)).shape
    torch.Size([5, 3, 32, 32])
    """

    padding: int = 4
    flip: bool = True

    @classmethod
    def parse(cls, name: str) -> "CropFlip":
        """From "none", "flip", "crop4" or "crop4_flip", with any number of pixels.

        Raises:
            ValueError: for another name.
        """
        parts = re.fullmatch(r"none|(flip)|crop([0-9]+)(_flip)?", name)
        if parts is None:
            known = "none, flip, or crop with a number of pixels as in crop4 or crop4_flip"
            raise ValueError(f"expected {known}, got {name!r}")
        return cls(int(parts[2] or 0), bool(parts[1] or parts[3]))

    def sample(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where each crop begins in the padded image, (N, 2) by row and column, and which are mirrored, (N,)."""
        corners = torch.randint(0, 2 * self.padding + 1, (count, 2), generator=generator)
        return corners, torch.rand(count, generator=generator) < (0.5 if self.flip else 0.0)

    def apply(self, images: Tensor, corners: Tensor, mirrored: Tensor, fill: Tensor) -> Tensor:
        """(N, C, H, W) of any type -> the same; ``fill`` (C,) is the value of padding."""
        number, channels, height, width = images.shape
        p = self.padding
        padded = fill[:, None, None].expand(number, channels, height + 2 * p, width + 2 * p).clone()
        padded[:, :, p : p + height, p : p + width] = images
        rows = corners[:, :1] + torch.arange(height, device=images.device)
        columns = torch.arange(width, device=images.device).expand(number, width)
        columns = corners[:, 1:] + torch.where(mirrored[:, None], columns.flip(1), columns)
        image, channel = torch.arange(number, device=images.device), torch.arange(channels, device=images.device)
        return padded[
            image[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None]
        ]
