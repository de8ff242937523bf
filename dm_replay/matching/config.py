"""Settings of a condensation."""

from dataclasses import dataclass, replace

from ..augment.siamese import SiameseAugment
from ..condensed.condensed_set import STORAGES
from ..networks import parse
from ..runtime.engine import COMPILE, PRECISIONS, check_choices

__all__ = ["CondenseConfig"]


@dataclass(frozen=True)
class CondenseConfig:
    """Settings of :func:`condense`; the defaults are the paper's.

    Args:
        ipc: synthetic images per class.
        iterations: updates of the pixels, each with a new random network.
        batch_real: real images of each class per iteration; where every class has fewer, all of them.
        lr_img: learning rate of the pixels. The paper takes 1; 10 for ipc ≥ 100 on CIFAR-10; 0.01 to 0.1 for
            networks with BatchNorm.
        momentum: of the pixels' SGD.
        init: "real" starts from random real images of the class, "noise" from Gaussian noise.
        network: the random embedding, e.g. "convnet" or "convnet:norm=batch,depth=4".
        augment: families of the Siamese augmentation joined by "_", or "none"; "auto" is all of them, but "flip"
            only where the pool says that a mirror image means the same.
        nested: weight in the loss of the shorter prefixes of a class's images, beside 1 for their full number. Above
            0, the first k images of a class are themselves a condensed set. 0 is the paper's objective.
        nested_power: lets that weight fall with the length: nested · (k / ipc) ** nested_power.
        precision: of the real branch, which carries no gradient: "bfloat16", "float32" (the reference) or "auto". On a
            GPU float32 convolutions use TF32 where PyTorch is set to, as it is by default.
        compile: "yes", "no", or "auto" for where it earns back its half minute.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        storage: of the result: "float32", "float16" or "uint8".
        memory_budget: GiB of device memory for the activations of the gradient-free work, and likewise, at another
            time, of the work with a gradient. It bounds the images at a time; networks with BatchNorm need all at once.

    Raises:
        ValueError: for a value that is out of its range or none of its choices.

    >>> from dm_replay import CondenseConfig
    >>> CondenseConfig(ipc=1, network="convnet:norm=batch").resolve(flip_invariant=False).augment
    'color_crop_cutout_scale_rotate'
    """

    ipc: int = 10
    iterations: int = 20_000
    batch_real: int = 256
    lr_img: float = 1.0
    momentum: float = 0.5
    init: str = "real"
    network: str = "convnet"
    augment: str = "auto"
    nested: float = 0.0
    nested_power: float = 0.0
    precision: str = "auto"
    compile: str = "auto"
    device: str = "auto"
    storage: str = "float32"
    memory_budget: float = 4.0

    def __post_init__(self):
        for name in ("ipc", "iterations", "batch_real"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ValueError(f"{name} must be a whole number of at least 1, got {getattr(self, name)}")
        if not self.lr_img > 0 or not 0 <= self.momentum < 1:
            raise ValueError(f"expected lr_img > 0 and momentum in [0, 1), got {self.lr_img} and {self.momentum}")
        if not self.nested >= 0 or not self.nested_power >= 0:
            raise ValueError(f"expected nested and nested_power >= 0, got {self.nested} and {self.nested_power}")
        if not self.memory_budget > 0:
            raise ValueError(f"memory_budget must be above 0 GiB, got {self.memory_budget}")
        check_choices(self, init=("real", "noise"), precision=PRECISIONS, compile=COMPILE, storage=tuple(STORAGES))
        parse(self.network)
        SiameseAugment.parse(self.augment)

    def resolve(self, flip_invariant: bool) -> "CondenseConfig":
        """The same with the families that an ``augment`` of "auto" stands for."""
        return replace(self, augment=SiameseAugment.parse(self.augment, flip_invariant).name)
