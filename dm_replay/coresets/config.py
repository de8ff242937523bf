"""Settings of exemplars: real images kept as they are."""

from dataclasses import dataclass
from numbers import Integral

from ..condensed.condensed_set import STORAGES
from ..runtime.validation import check_choices

__all__ = ["ExemplarConfig"]


@dataclass(frozen=True)
class ExemplarConfig:
    """How many real images of each class to keep, and how.

    Args:
        ipc: images per class.
        storage: "float32", "float16" or "uint8"; "auto" is "uint8" for pools of uint8 pixels, else "float32".
    """

    ipc: int = 10
    storage: str = "auto"

    def __post_init__(self):
        if not isinstance(self.ipc, Integral) or self.ipc < 1:
            raise ValueError(f"ipc must be a whole number of at least 1, got {self.ipc}")
        check_choices(self, storage=("auto", *STORAGES))
