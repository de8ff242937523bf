"""Settings of a condensation."""

from dataclasses import dataclass, replace
from typing import Any

from ..augment.siamese import SiameseAugment
from ..condensed.condensed_set import STORAGES
from ..condensed.decoder import Decoder, check_color
from ..condensed.formation import ENLARGING
from ..condensed.quantize import stored_bytes
from ..data.pixels import usual_size, within
from ..networks import parse
from ..runtime.engine import COMPILE, PRECISIONS
from ..runtime.validation import check_choices, check_memory_budget, check_whole_numbers, unwrap_numpy
from .distances import DISTANCES
from .presets import PRESETS, fitting_color, fitting_formation, fitting_storage

__all__ = ["INITS", "CondenseConfig"]

FROM_PRESET: Any = None
INITS = ("real", "herding", "noise")


@dataclass(frozen=True)
class CondenseConfig:
    """Settings of :func:`condense`. What is not given comes from the preset.

    Args:
        preset: "paper" is Zhao & Bilen's; "fast" the best that was found for minutes; "plus" for half an hour and more.
            Defaults of other fields are the paper's, unless the preset has its own.
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
        inner_steps: of the pixels in each iteration, with the same network and the same real images.
        lr_img: learning rate of the pixels. The paper takes 1; 10 for ipc ≥ 100 on CIFAR-10; 0.01 to 0.1 for
            networks with BatchNorm.
        lr_final: the learning rate falls to this part of itself, as a cosine.
        momentum: of the pixels' SGD.
        tail_average: the last part of the iterations over which the pixels are averaged for the result; 0 takes the
            last.
        formation: each stored image is a mosaic of formation² tiles, which are training images when enlarged; 0 takes
            2 where that leaves tiles of 8 × 8 pixels.
        color: of images of three channels, color is stored with sides divided by this: 1, 2 or 4; see
            :class:`Decoder`. 0 takes 1 or, where ``bytes_per_class`` count, the largest that fits the images.
        enlarging: of tiles and color, and of images that were shrunk: "linear" or "sharp"; see :class:`Decoder`.
        resolution: pixels of the longest side at which images are condensed and stored; larger ones are shrunk by
            averaging before, and enlarged when they are decoded. 0 takes those of up to 64 × 64 pixels whole, and
            shrinks larger ones to about that, which two cores can bear; on a GPU take 128, or 224 for all of 224 × 224.
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
        prefix_weight: weight in the loss of the shorter prefixes of a class's images, beside 1 for their full
            number. Above
            0, the first k images of a class are themselves a condensed set. 0 is the paper's objective.
        prefix_power: lets that weight fall with the length: prefix_weight · (k / ipc) ** prefix_power.
        synthetic_precision: "float32", or "auto" for that of the real branch.
        precision: of the real branch, which carries no gradient: "bfloat16", "float32" (the reference) or "auto". On a
            GPU float32 convolutions use TF32 where PyTorch is set to, as it is by default.
        compile: "yes", "no", or "auto" for where it earns back its half minute.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        storage: of the result: "float32", "float16", "uint8", "uint6" or "uint4": 4, 2, 1, 0.75, 0.5 bytes a value.
            "auto" is "float32" or, where ``bytes_per_class`` count, "uint4" ("uint8" for the paper's preset).
        memory_budget: GiB of device memory for the activations of the gradient-free work, and likewise, at another
            time, of the work with a gradient. It bounds the images at a time; networks with BatchNorm need all at once.

    Raises:
        ValueError: for a value that is out of its range or none of its choices.

    >>> from dm_replay import CondenseConfig
    >>> CondenseConfig(ipc=1, network="convnet:norm=batch").resolve(flip_invariant=False).augment
    'color_crop_cutout_scale_rotate'
    """

    preset: str = "paper"
    ipc: int = 10
    bytes_per_class: int | None = None
    iterations: int = FROM_PRESET
    seconds: float | None = None
    patience: float | None = None
    batch_real: int = FROM_PRESET
    batch_syn: int = FROM_PRESET
    inner_steps: int = FROM_PRESET
    lr_img: float = FROM_PRESET
    lr_final: float = FROM_PRESET
    momentum: float = FROM_PRESET
    tail_average: float = FROM_PRESET
    formation: int = FROM_PRESET
    color: int = FROM_PRESET
    enlarging: str = FROM_PRESET
    resolution: int = 0
    extractors: int = FROM_PRESET
    extractor_steps: int = FROM_PRESET
    class_weight: float = FROM_PRESET
    distance: str = FROM_PRESET
    init: str = FROM_PRESET
    network: str = "convnet"
    augment: str = "auto"
    prefix_weight: float = 0.0
    prefix_power: float = 0.0
    synthetic_precision: str = FROM_PRESET
    precision: str = "auto"
    compile: str = "auto"
    device: str = "auto"
    storage: str = "auto"
    memory_budget: float = 4.0

    def __post_init__(self):
        check_choices(self, preset=tuple(PRESETS))
        if self.extractors == 0 and self.class_weight is FROM_PRESET:
            object.__setattr__(self, "class_weight", 0.0)
        for name, value in PRESETS[self.preset].items():
            if getattr(self, name) is FROM_PRESET:
                object.__setattr__(self, name, value)
        unwrap_numpy(self)
        check_whole_numbers(self, ipc=1, iterations=1, batch_real=1, batch_syn=0, inner_steps=1)
        check_whole_numbers(self, formation=0, extractors=0, extractor_steps=1, resolution=0)
        self._check_numbers()
        if self.bytes_per_class is not None:
            check_whole_numbers(self, bytes_per_class=1)
        if self.color != 0:
            check_color(self.color)
        check_choices(self, enlarging=ENLARGING, distance=DISTANCES, init=INITS, storage=("auto", *STORAGES))
        check_choices(self, synthetic_precision=("auto", "float32"), precision=PRECISIONS, compile=COMPILE)
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
            raise ValueError(
                f"expected prefix_weight and prefix_power >= 0, got {self.prefix_weight} and {self.prefix_power}"
            )
        check_memory_budget(self.memory_budget)

    def sized(self, shape: tuple[int, int, int]) -> "CondenseConfig":
        """The same for images (C, H, W): with what they are stored as, and the ``ipc`` that ``bytes_per_class`` come
        to.

        Raises:
            ValueError: if not even one image fits.
        """
        shape = self.condensed_shape(shape)
        formation = self.formation or fitting_formation(shape)
        bounded = self.bytes_per_class is not None
        color = self.color or (fitting_color(shape, formation) if bounded else 1)
        storage = self.storage
        if storage == "auto":
            storage = fitting_storage(shape, self.preset) if bounded else "float32"
        fitted = replace(self, formation=formation, color=color, storage=storage)
        if self.bytes_per_class is None:
            return fitted
        each = stored_bytes(fitted.decoder(shape[0]).stored_shape(shape), storage)
        if self.bytes_per_class < each:
            raise ValueError(
                f"bytes_per_class {self.bytes_per_class} is less than the {each} bytes of one stored image"
            )
        return replace(fitted, ipc=self.bytes_per_class // each)

    def condensed_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(C, h, w) at which images (C, H, W) are condensed and stored."""
        channels, height, width = shape
        size = within(height, width, self.resolution) if self.resolution else usual_size(height, width)
        return channels, *size

    def decoder(self, channels: int) -> Decoder:
        """Of images with so many channels, once the settings are :meth:`sized`."""
        return Decoder.of(channels, self.formation, self.color, self.enlarging)

    def resolve(self, flip_invariant: bool) -> "CondenseConfig":
        """The same with the families that an ``augment`` of "auto" stands for."""
        return replace(self, augment=SiameseAugment.parse(self.augment, flip_invariant).name)
