"""Differentiable Siamese augmentation (DSA, Zhao & Bilen, ICML 2021): draw once, apply to real and synthetic alike."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .kernels import color, cutout, warp

__all__ = ["SiameseAugment"]


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
    """

    families: tuple[str, ...] = ("color", "crop", "cutout", "flip", "scale", "rotate")
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5
    crop: float = 0.125
    cutout: float = 0.5
    flip: float = 0.5
    scale: float = 1.2
    rotate: float = 15.0

    known: ClassVar[tuple[str, ...]] = ("color", "crop", "cutout", "flip", "scale", "rotate")
    columns: ClassVar[int] = 13  # 6 of the affine matrix, 3 of color, 4 of the cutout box

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

    def sample(self, groups: int, image_size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Draw the parameters of ``groups`` augmentations for images of ``image_size`` (H, W): (groups, 13), float32.

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

    def resolve(self, choice: Tensor, u: Tensor, image_size: tuple[int, int]) -> Tensor:
        """What random values come to mean: (groups, 13), float32."""
        params = torch.zeros(len(choice), self.columns, device=choice.device)
        for neutral_one in (0, 4, 7, 8):
            params[:, neutral_one] = 1
        family = (choice * len(self.families)).long()
        for number, name in enumerate(self.families):
            drawn = getattr(self, f"_{name}")(params, u, image_size)
            params = torch.where((family == number)[:, None], drawn, params)
        return params

    def apply(self, x: Tensor, params: Tensor) -> Tensor:
        """Augment x (G, B, C, H, W) by params (G, 13); differentiable in x."""
        if not self.families:
            return x
        params = params.to(torch.promote_types(x.dtype, torch.float32))
        if {"crop", "flip", "scale", "rotate"} & set(self.families):
            x = warp(x, params[:, :6].view(-1, 2, 3))
        if "color" in self.families:
            x = color(x, *params[:, 6:9].unbind(1))
        if "cutout" in self.families:
            x = cutout(x, params[:, 9:])
        return x

    def _color(self, params, u, size):
        drawn = params.clone()
        drawn[:, 6] = (u[:, 0] - 0.5) * self.brightness
        drawn[:, 7] = u[:, 1] * self.saturation
        drawn[:, 8] = u[:, 2] + self.contrast
        return drawn

    def _crop(self, params, u, size):
        drawn = params.clone()
        for column, draw, side in ((5, u[:, 0], size[0]), (2, u[:, 1], size[1])):
            reach = int(side * self.crop + 0.5)
            drawn[:, column] = (draw * (2 * reach + 1)).floor() - reach
        return drawn

    def _cutout(self, params, u, size):
        drawn = params.clone()
        for column, draw, side in ((9, u[:, 0], size[0]), (11, u[:, 1], size[1])):
            length = int(side * self.cutout + 0.5)
            start = (draw * (side + 1 - length % 2)).floor() - length // 2
            drawn[:, column], drawn[:, column + 1] = start, start + length
        return drawn

    def _flip(self, params, u, size):
        drawn = params.clone()
        drawn[:, 0] = torch.where(u[:, 0] < self.flip, -1.0, 1.0)
        return drawn

    def _scale(self, params, u, size):
        drawn = params.clone()
        low = 1 / self.scale
        drawn[:, 0] = low + u[:, 0] * (self.scale - low)
        drawn[:, 4] = low + u[:, 1] * (self.scale - low)
        return drawn

    def _rotate(self, params, u, size):
        drawn = params.clone()
        angle = (u[:, 0] - 0.5) * 2 * math.radians(self.rotate)
        drawn[:, 0], drawn[:, 1] = angle.cos(), -angle.sin()
        drawn[:, 3], drawn[:, 4] = angle.sin(), angle.cos()
        return drawn
