"""Settings that go together: the paper's, and two that get more out of a second and out of a byte."""

from typing import Any

__all__ = ["PRESETS"]

PAPER: dict[str, Any] = {
    "iterations": 20_000,
    "batch_real": 256,
    "batch_syn": 0,
    "updates": 1,
    "lr_img": 1.0,
    "lr_final": 1.0,
    "momentum": 0.5,
    "average": 0.0,
    "formation": 1,
    "extractors": 0,
    "extractor_steps": 200,
    "class_weight": 0.0,
    "synthetic_precision": "float32",
}
FAST = PAPER | {
    "iterations": 2_000,
    "batch_real": 32,
    "batch_syn": 32,
    "updates": 2,
    "lr_final": 0.1,
    "average": 0.5,
    "formation": 4,
    "synthetic_precision": "auto",
}
PLUS = FAST | {"iterations": 10_000, "extractors": 4, "class_weight": 2.5}

PRESETS = {"paper": PAPER, "fast": FAST, "plus": PLUS}
