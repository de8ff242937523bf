"""Settings that go together: the paper's, and two that get more out of a second and out of a byte."""

from typing import Any

from ..condensed.decoder import COLORS, Decoder
from ..condensed.quantize import check_storage

__all__ = ["PRESETS", "USUAL", "fitting_color", "fitting_formation", "fitting_storage"]

SMALLEST = 8  # pixels of a tile's side that are worth training with
Shape = tuple[int, int, int]

PAPER: dict[str, Any] = {
    "iterations": 20_000,
    "batch_real": 256,
    "batch_syn": 0,
    "inner_steps": 1,
    "lr_img": 1.0,
    "lr_final": 1.0,
    "momentum": 0.5,
    "tail_average": 0.0,
    "formation": 1,
    "color": 1,
    "enlarging": "linear",
    "extractors": 0,
    "extractor_steps": 200,
    "class_weight": 0.0,
    "distance": "mean",
    "init": "real",
    "synthetic_precision": "float32",
}
# What was tried for each of these, with figures: benchmarks/README.md.
FAST = PAPER | {
    "iterations": 300,
    "batch_real": 32,
    "batch_syn": 40,
    "inner_steps": 2,
    "lr_img": 0.5,
    "lr_final": 0.1,
    "tail_average": 0.5,
    "formation": 0,
    "color": 0,
    "enlarging": "sharp",
    "extractors": 2,
    "extractor_steps": 150,
    "class_weight": 10.0,
    "distance": "moments",
    "init": "herding",
    "synthetic_precision": "auto",
}
PLUS = FAST | {"iterations": 5_000, "extractors": 4, "extractor_steps": 700, "class_weight": 20.0}

PRESETS = {"paper": PAPER, "fast": FAST, "plus": PLUS}
USUAL = "fast"  # of the command line and the plugin


def fitting_formation(shape: Shape) -> int:
    """What a formation of 0 stands for, for images (C, H, W)."""
    return 2 if min(shape[1:]) >= 2 * SMALLEST else 1


def fitting_color(shape: Shape, formation: int) -> int:
    """The largest color factor that images (C, H, W) can be stored with."""
    for color in sorted(COLORS, reverse=True):
        try:
            Decoder.of(shape[0], formation, color).check(shape)
        except ValueError:
            continue
        return color
    return 1


def fitting_storage(shape: Shape, preset: str) -> str:
    """What a storage of "auto" stands for where bytes are counted."""
    try:
        check_storage("uint4", shape[2])
    except ValueError:
        return "uint8"
    return "uint8" if preset == "paper" else "uint4"
