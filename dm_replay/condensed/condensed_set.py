"""CondensedSet: a few synthetic images per class, as a value that can be cut, joined, stored and read back."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime.engine import cpu_by_default
from ..runtime.files import save_sealed
from ..runtime.validation import class_labels
from .by_class import ByClass, added_counts
from .decoder import Decoder, Resolution
from .quantize import BITS, dequantize, pack, quantize, unpack
from .reading import FIELDS, FORMAT, OFFICIAL, official_images, own_fields, read_content

__all__ = ["STORAGES", "CondensedSet"]

STORAGES = {"float32": torch.float32, "float16": torch.float16, **dict.fromkeys(BITS, torch.uint8)}


@cpu_by_default
@dataclass(frozen=True, eq=False)
class CondensedSet(ByClass):
    """Synthetic images with hard labels. Make one with :meth:`from_images`.

    A stored image is one training image or, with a formation f, a mosaic that decodes to f² of them.

    Attributes:
        pixels: (N, C, H, W) as stored: float32, float16 or uint8; of uint6 and uint4 the bytes (N, C, H, W · bits / 8).
        labels: (N,) int64; the images of a class keep their order, and its first k are what :meth:`prefix` keeps.
        counts: (K,) int64, how many real images each class stands for, in the order of ``classes``.
        scale, offset: (N, C) float32 for uint8, uint6 and uint4, else None: value = pixel · scale + offset.
        meta: plain metadata (settings, seed, mean and std of the normalization, class names).
        formation: f, the tiles of a stored image along a side.
        bits: of a pixel's value, where pixels are uint8.
        color: what the sides of the color planes are divided by; see :class:`Decoder`.
        enlarging: how tiles and color planes are enlarged; see :class:`Decoder`.
        affine: (2, C), what decoded images are multiplied by and shifted by; None for neither.
        size: (H, W) that images are decoded to; None for that at which they are stored.

    >>> import torch
    >>> from dm_replay import CondensedSet
    >>> images = torch.rand(6, 3, 8, 8)
    >>> condensed = CondensedSet.from_images(images, torch.tensor([0, 0, 0, 1, 1, 1]), storage="uint8")
    >>> condensed.prefix(2).labels.tolist()
    [0, 0, 1, 1]
    >>> condensed.nbytes  # a byte for each value, a scale and an offset for each channel of an image
    1296
    >>> condensed.save("condensed.pt")
    >>> len(CondensedSet.load("condensed.pt").of_class(1))
    3
    """

    pixels: Tensor
    labels: Tensor
    counts: Tensor
    scale: Tensor | None = None
    offset: Tensor | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    formation: int = 1
    bits: int = 8
    color: int = 1
    affine: Tensor | None = None
    enlarging: str = "linear"
    size: tuple[int, int] | None = None

    @classmethod
    def from_images(
        cls,
        images: Tensor,
        labels: Tensor,
        counts: Tensor | None = None,
        meta: dict[str, Any] | None = None,
        storage: str = "float32",
        formation: int = 1,
        color: int = 1,
        enlarging: str = "linear",
    ) -> "CondensedSet":
        """Store float images (N, C, H, W) of normalized values with labels (N,), in memory of the set's own.

        With a formation or a color factor they are what :meth:`Decoder.encode` makes.

        ``uint8`` takes a quarter of the bytes of ``float32`` and is exact to 1/510 of each channel's own range;
        ``uint6`` to 1/126, ``uint4``, at half the bytes of uint8, to 1/30.
        ``counts`` defaults to the number of images given of each class.

        Raises:
            ValueError: for an unknown storage, shapes that do not fit, labels that are not whole numbers from 0, values
                that are not finite, or are too large for the storage, or rows that are no whole bytes.
        """
        if storage not in STORAGES:
            raise ValueError(f"unknown storage {storage!r}; choose from {', '.join(STORAGES)}")
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"expected images (N, C, H, W) and labels (N,), got {tuple(images.shape)}, {tuple(labels.shape)}"
            )
        if not images.isfinite().all():
            raise ValueError("the images hold NaN or infinite values")
        channels, height, width = images.shape[1:]
        decoder = Decoder(formation, color, enlarging)
        decoder.check(decoder.encoded_shape((channels, height, width)))
        images, labels = images.detach().cpu(), class_labels(labels)
        if counts is None:
            counts = labels.unique(return_counts=True)[1]
        counts, meta = counts.detach().to("cpu", torch.int64, copy=True), dict(meta or {})
        if len(counts) != len(labels.unique()):
            raise ValueError(f"expected {len(labels.unique())} counts, one for each class, got {len(counts)}")
        if storage in BITS:
            pixels, scale, offset = quantize(images, BITS[storage])
            pixels, bits = pack(pixels, BITS[storage]), BITS[storage]
        else:
            pixels, bits, scale, offset = images.to(STORAGES[storage], copy=True), 8, None, None
        stored = cls(pixels, labels, counts, scale, offset, meta, formation, bits, color, enlarging=enlarging)
        if not stored.mosaics.isfinite().all():
            raise ValueError(f"storage {storage} cannot hold values as large as {float(images.abs().max()):.3g}")
        return stored

    @property
    def mosaics(self) -> Tensor:
        """(N, C, H, W) float32, the values of the stored images: a copy, whatever the storage."""
        return self._values(torch.arange(len(self), device=self.labels.device))

    @property
    def images(self) -> Tensor:
        """(N · f², C, H, W) float32, all training images, those of a stored image one after another: a copy."""
        return self.decode(torch.arange(self.decoded, device=self.labels.device))

    @property
    def image_labels(self) -> Tensor:
        """(N · f²,) int64, the label of each training image."""
        return self.labels.repeat_interleave(self.formation**2)

    @property
    def decoded(self) -> int:
        """How many training images there are: N · f²."""
        return len(self) * self.formation**2

    def decode(self, rows: Tensor) -> Tensor:
        """Training images of given numbers, 0 to N · f² − 1: (M,) -> (M, C, H, W) float32, on the set's device."""
        decoder = self.decoder
        images = self._values(rows // decoder.tiles)
        if not decoder.plain:
            own = torch.arange(len(rows), device=rows.device) * decoder.tiles
            images = decoder.decode(images, own + rows % decoder.tiles)
        return images if self.affine is None else images * self.affine[0][:, None, None] + self.affine[1][:, None, None]

    @property
    def decoder(self) -> Decoder:
        return Decoder(self.formation, self.color, self.enlarging, self.size)

    @property
    def resolution(self) -> Resolution:
        """At which its images are kept."""
        return Resolution(self.decoder, self.affine, self.encoded_shape[1:] if self.size else None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every training image."""
        return self.decoder.image_shape(self._stored_shape)

    @property
    def encoded_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the images at the resolution at which they were encoded."""
        return self.decoder.encoded_shape(self._stored_shape)

    @property
    def _stored_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.pixels.shape[1:]
        return channels, height, width * 8 // self.bits

    def decoded_to(self, height: int, width: int) -> "CondensedSet":
        """The same stored images, decoded to training images of another size."""
        own = (height, width) == self.encoded_shape[1:]
        return replace(self, size=None if own else (height, width))

    def _values(self, stored: Tensor) -> Tensor:
        """Stored images of given numbers: (M,) -> (M, C, H, W) float32, a copy."""
        if self.scale is None or self.offset is None:
            return self.pixels[stored].float()
        return dequantize(unpack(self.pixels[stored], self.bits), self.scale[stored], self.offset[stored])

    def as_stored(self) -> "CondensedSet":
        """The mosaics themselves as training images, to be looked at."""
        if self.color == 1:
            return replace(self, formation=1, size=None)
        whole = replace(self, formation=1, size=None).images
        return self.from_images(whole, self.labels, self.counts, self.meta)

    @property
    def storage(self) -> str:
        return str(self.pixels.dtype).removeprefix("torch.") if self.scale is None else f"uint{self.bits}"

    @property
    def nbytes(self) -> int:
        """Bytes of the stored pixels with their scales and offsets (labels, which any memory needs, not counted)."""
        return sum(t.nbytes for t in (self.pixels, self.scale, self.offset, self.affine) if t is not None)

    def select(self, rows: Tensor) -> "CondensedSet":
        labels = self.labels[rows]
        kept = torch.isin(self.classes, labels)
        scale, offset = (None if t is None else t[rows] for t in (self.scale, self.offset))
        pixels, counts = self.pixels[rows], self.counts[kept]
        return replace(self, pixels=pixels, labels=labels, counts=counts, scale=scale, offset=offset)

    def with_storage(self, storage: str) -> "CondensedSet":
        """The same images stored otherwise: "float32", "float16", "uint8", "uint6" or "uint4"."""
        if storage == self.storage:
            return self
        about = self.labels, self.counts, self.meta, storage, self.formation, self.color, self.enlarging
        return replace(self.from_images(self.mosaics, *about), affine=self.affine, size=self.size)

    def with_values(self, values: Tensor, counts: Tensor | None = None) -> "CondensedSet":
        """As many other stored images (N, …) of the same labels, stored alike."""
        counts = self.counts if counts is None else counts
        about = self.labels, counts, self.meta, self.storage, self.formation, self.color, self.enlarging
        return replace(self.from_images(values, *about), size=self.size)

    def to(self, device: torch.device | str) -> "CondensedSet":
        """The same set with its tensors on a device, for :meth:`decode` there."""
        names = ("pixels", "labels", "counts", "scale", "offset", "affine")
        return replace(self, **{name: t.to(device) for name in names if (t := getattr(self, name)) is not None})

    def with_meta(self, **meta: Any) -> "CondensedSet":
        return replace(self, meta={**self.meta, **meta})

    @staticmethod
    def merge(sets: Sequence["CondensedSet"]) -> "CondensedSet":
        """All images of sets of one storage, image shape and formation; counts of a class in several sets add up.

        Raises:
            ValueError: for no sets, or sets of different storage, image shape or formation.
        """
        if not sets:
            raise ValueError("nothing to merge")
        kinds = {(s.storage, s.shape, s.encoded_shape, s.formation, s.color, s.enlarging) for s in sets}
        if len(kinds) > 1:
            raise ValueError(f"cannot merge sets of different storage, image shape or formation: {sorted(kinds)}")
        pixels, labels = torch.cat([s.pixels for s in sets]), torch.cat([s.labels for s in sets])
        counts = added_counts(sets, labels.unique())
        scale, offset = _joined([s.scale for s in sets]), _joined([s.offset for s in sets])
        return replace(sets[0], pixels=pixels, labels=labels, counts=counts, scale=scale, offset=offset)

    def save(self, path: str | Path) -> None:
        """Write tensors and plain metadata with a checksum, atomically."""
        save_sealed({"format": FORMAT, **{name: getattr(self, name) for name in FIELDS}}, path)

    @classmethod
    def load(cls, path: str | Path) -> "CondensedSet":
        """Read a file of :meth:`save`, or a ``res_*.pt`` of the official code (its last experiment). Runs no code.

        Raises:
            ValueError: if the file is missing, damaged or something else.
        """
        path = Path(path)
        content = read_content(path)
        if "format" in content:
            return cls(**own_fields(content, path))
        images, labels = official_images(content, path)
        try:
            return cls.from_images(images, labels, meta={"source": OFFICIAL, "experiments": len(content["data"])})
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is a damaged condensed set: {' '.join(str(error).split())}") from error


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    present = [part for part in parts if part is not None]
    return torch.cat(present) if present else None
