"""Settings of a condensation."""

from dataclasses import dataclass, replace
from typing import Any

from ..augment.siamese import SiameseAugment
from ..condensed.codec import Codec, Shape
from ..condensed.dct import Dct
from ..condensed.tiles import PLAIN, Tiles
from ..networks import parse
from ..runtime.settings import Machine, Plain, check_choices, check_whole_numbers
from .losses import DISTANCES

__all__ = ["INITS", "IN_BYTES", "PRESETS", "USUAL", "CondenseConfig"]

INITS = ("real", "herding", "noise")
IN_BYTES = Dct(resolution=64)  # codec of condensed images where bytes count: at sizes that two cores can bear


@dataclass(frozen=True)
class CondenseConfig(Plain):
    """Settings of :func:`condense`; the defaults are the best that was found for minutes, the preset "fast".

    Args:
        ipc: stored synthetic images per class.
        bytes_per_class: instead of ``ipc``, the bytes that each class may take: as many images as fit as they are
            stored.
        iterations: draws of real images and of a network.
        seconds: instead of ``iterations``, how long to condense, all preparations counted; the falling learning rate
            and the averaging are stretched to it. Such a run is not repeatable.
        patience: seconds, all preparations counted, after which a run of ``iterations`` ends, too: where it cannot make
            them in that time it makes fewer, and the learning rate and the averaging follow. A run that is fast enough
            is what it would be without.
        batch_real: real images of each class per iteration; where every class has fewer, all of them.
        batch_syn: training images of each class per update, drawn at random from those that the stored ones decode to;
            0 takes all of them.
        inner_steps: updates of the pixels in each iteration, with the same network and the same real images.
        lr_img: learning rate of the pixels. The paper takes 1; 10 for ipc ≥ 100 on CIFAR-10; 0.01 to 0.1 for
            networks with BatchNorm. By a codec whose bytes depend on its values, as `Dct`, it is multiplied for each of
            them by what values of its place usually are, see :class:`~dm_replay.matching.rate_control.RateControl`.
        lr_final: the learning rate falls to this part of itself, as a cosine.
        momentum: of the pixels' SGD.
        tail_average: the last part of the iterations over which the pixels are averaged for the result; 0 takes the
            last.
        extractors: networks that are trained briefly on the real images and then mixed with their initial weights; 0
            takes a new random network in each iteration.
        extractor_steps: of their training, on 256 images each; fewer where ``seconds`` bound the run and a third of
            them is over.
        class_weight: of the trained networks' cross-entropy on the synthetic images, beside the matching loss of 2,048
            features (ConvNet of width 128 at 32 × 32); with fewer or more features it is as much less or more.
        distance: of a class's real and synthetic images: "mean" of the features (the paper's), "moments" or
            "characteristic", see :class:`Distance`.
        init: "real" starts from random real images of the class, "herding" from those whose mean feature in a random
            network is their class's, "noise" from Gaussian noise.
        network: the random embedding, e.g. "convnet" or "convnet:norm=batch,depth=4".
        augment: families of the Siamese augmentation joined by "_", or "none"; "auto" is all of them, but "flip"
            only where the pool says that a mirror image means the same.
        prefix_weight: weight in the loss of the shorter prefixes of a class's images, beside 1 for their full number,
            as in Multisize Dataset Condensation (He et al., ICLR 2024). Above 0, the first k images of a class are
            themselves a condensed set. 0 is the paper's objective.
        prefix_power: lets that weight fall with the length: prefix_weight · (k / ipc) ** prefix_power.
        synthetic_precision: "float32", or "auto" for that of the real branch.
        codec: how images are stored; where bytes count and it is `Tiles()`, as by default, :data:`IN_BYTES` instead.
        machine: where and how it runs; ``precision`` is that of the real branch.

    Raises:
        ValueError: for a value that is out of its range or none of its choices.

    >>> from dm_replay import CondenseConfig
    >>> CondenseConfig.preset("paper", network="convnet:norm=batch").resolve(flip_invariant=False).augment
    'color_crop_cutout_scale_rotate'
    """

    ipc: int = 10
    bytes_per_class: int | None = None
    iterations: int = 300
    seconds: float | None = None
    patience: float | None = None
    batch_real: int = 32
    batch_syn: int = 40
    inner_steps: int = 2
    lr_img: float = 0.5
    lr_final: float = 0.1
    momentum: float = 0.5
    tail_average: float = 0.5
    extractors: int = 2
    extractor_steps: int = 150
    class_weight: float = 10.0
    distance: str = "moments"
    init: str = "herding"
    network: str = "convnet"
    augment: str = "auto"
    prefix_weight: float = 0.0
    prefix_power: float = 0.0
    synthetic_precision: str = "auto"
    codec: Codec = Tiles()
    machine: Machine = Machine()

    @classmethod
    def preset(cls, name: str = "fast", **changes: Any) -> "CondenseConfig":
        """Settings that go together, and what else is given: fields, and those of ``codec`` and ``machine`` by name.

        Args:
            name: "paper" is Zhao & Bilen's; "fast" the best that was found for minutes; "plus" for half an hour and
                more.

        Raises:
            ValueError: for an unknown preset or name, or a value that is out of its range.

        >>> from dm_replay import CondenseConfig
        >>> config = CondenseConfig.preset("paper", ipc=1, tiles=2, device="cpu")
        >>> config.iterations, config.codec.tiles, config.machine.device
        (20000, 2, 'cpu')
        """
        if name not in PRESETS:
            raise ValueError(f"unknown preset {name!r}; choose from {', '.join(PRESETS)}")
        return cls(**PRESETS[name]).but(**changes)

    def but(self, **changes: Any) -> "CondenseConfig":
        """As :meth:`Plain.but`; without trained networks there is no class term either."""
        if changes.get("extractors") == 0:
            changes = {"class_weight": 0.0} | changes
        return super().but(**changes)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, ipc=1, iterations=1, batch_real=1, batch_syn=0, inner_steps=1)
        check_whole_numbers(self, extractors=0, extractor_steps=1)
        self._check_numbers()
        if self.bytes_per_class is not None:
            check_whole_numbers(self, bytes_per_class=1)
        check_choices(self, distance=DISTANCES, init=INITS, synthetic_precision=("auto", "float32"))
        parse(self.network)
        SiameseAugment.parse(self.augment)

    @property
    def limit(self) -> float | None:
        """Seconds after which it ends in any case."""
        return self.patience if self.seconds is None else self.seconds

    def _check_numbers(self) -> None:
        for name in ("seconds", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if not 0 <= self.lr_final <= 1 or not 0 <= self.tail_average <= 1 or not self.class_weight >= 0:
            raise ValueError(
                "expected lr_final and tail_average in [0, 1] and class_weight >= 0, "
                f"got {self.lr_final}, {self.tail_average} and {self.class_weight}"
            )
        if self.class_weight and not self.extractors:
            raise ValueError("class_weight needs trained networks: give extractors, too")
        if not self.lr_img > 0 or not 0 <= self.momentum < 1:
            raise ValueError(f"expected lr_img > 0 and momentum in [0, 1), got {self.lr_img} and {self.momentum}")
        if not self.prefix_weight >= 0 or not self.prefix_power >= 0:
            found = f"{self.prefix_weight} and {self.prefix_power}"
            raise ValueError(f"expected prefix_weight and prefix_power >= 0, got {found}")

    def fit(self, shape: Shape) -> "CondenseConfig":
        """The same for images (C, H, W): with the fitted codec, and the ``ipc`` that ``bytes_per_class`` come to.

        Raises:
            ValueError: if one image may not fit.
        """
        if self.bytes_per_class is None:
            return replace(self, codec=self.codec.fit(shape))
        codec = IN_BYTES if self.codec == Tiles() else self.codec.or_stored_as("uint8")
        codec = codec.for_class(shape, self.bytes_per_class).fit(shape)
        if self.bytes_per_class < (most := codec.nbytes(shape)):
            few = f"bytes_per_class {self.bytes_per_class}"
            raise ValueError(f"{few} is less than the {most} bytes of one stored image")
        return replace(self, codec=codec, ipc=self.bytes_per_class // codec.usual_nbytes(shape))

    def resolve(self, flip_invariant: bool) -> "CondenseConfig":
        """The same with the families that an ``augment`` of "auto" stands for."""
        return replace(self, augment=SiameseAugment.parse(self.augment, flip_invariant).name)


PAPER: dict[str, Any] = {
    "iterations": 20_000,
    "batch_real": 256,
    "batch_syn": 0,
    "inner_steps": 1,
    "lr_img": 1.0,
    "lr_final": 1.0,
    "tail_average": 0.0,
    "extractors": 0,
    "extractor_steps": 200,
    "class_weight": 0.0,
    "distance": "mean",
    "init": "real",
    "synthetic_precision": "float32",
    "codec": PLAIN,
}
# What was tried for each of these, with figures: docs/experiments.md.
PLUS = {"iterations": 5_000, "extractors": 4, "extractor_steps": 700, "class_weight": 20.0}

PRESETS = {"paper": PAPER, "fast": {}, "plus": PLUS}
USUAL = "fast"  # of the command line and the plugin
