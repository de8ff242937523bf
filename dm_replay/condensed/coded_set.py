"""CodedSet: real images kept as small image files, read like a condensed set."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..runtime.engine import cpu_by_default
from .by_class import ByClass, added_counts
from .coding import ImageCodec
from .decoder import Decoder, Resolution
from .formation import enlarge

__all__ = ["SPAN", "CodedSet"]

SPAN = 8  # bytes of what is black and what is white in a picture


@cpu_by_default
@dataclass(frozen=True, eq=False)
class CodedSet(ByClass):
    """Images with hard labels, each the bytes of one WebP or JPEG picture. Make one with :meth:`from_pixels`.

    Attributes:
        codes: N byte strings. labels: (N,) int64; the images of a class keep their order.
        counts: (K,) real images that each class stands for.
        shape: (C, H, W) of the training images, to which smaller pictures are enlarged.
        enlarging: how, "linear" or "sharp"; see :class:`Decoder`.
        codec: what reads the codes.
        meta: plain metadata.
        spans: (N, 2) float32, the values of each picture that stand for black and white; None for 0 and 1.
        affine: (2, C), what these values are multiplied by and shifted by: the normalization, which is not stored with
            a set.

    >>> import torch
    >>> from dm_replay.condensed.coded_set import CodedSet
    >>> pixels = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    >>> coded = CodedSet.from_pixels(pixels, torch.tensor([0, 0, 1, 1]), "webp", quality=5, shape=(3, 32, 32))
    >>> coded.images.shape, coded.nbytes < pixels.nbytes
    (torch.Size([4, 3, 32, 32]), True)
    """

    codes: tuple[bytes, ...]
    labels: Tensor
    counts: Tensor
    shape: tuple[int, int, int]
    codec: ImageCodec
    meta: dict[str, Any] = field(default_factory=dict)
    enlarging: str = "linear"
    spans: Tensor | None = None
    affine: Tensor | None = None
    formation: ClassVar[int] = 1

    @classmethod
    def from_pixels(
        cls,
        pixels: Tensor,
        labels: Tensor,
        codec: str,
        quality: int,
        *,
        shape: tuple[int, int, int] | None = None,
        counts: Tensor | None = None,
        meta: dict[str, Any] | None = None,
        enlarging: str = "linear",
        spans: Tensor | None = None,
        affine: Tensor | None = None,
        most: int | None = None,
    ) -> "CodedSet":
        """Code uint8 pixels (N, C, h, w) with labels (N,).

        Args:
            most: bytes that no code may exceed, of WebP: each picture has the best quality up to ``quality`` that they
                allow.

        Raises:
            ValueError: for an unknown codec, pixels that are not uint8, channels that pictures do not have, or a
                picture that cannot be made to fit ``most`` bytes.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
            raise ValueError(f"expected uint8 pixels (N, 1 or 3, H, W), got {pixels.dtype} {tuple(pixels.shape)}")
        coder = ImageCodec(codec, quality)
        codes = tuple(coder.encode(picture) if most is None else coder.fitted(picture, most) for picture in pixels)
        channels, height, width = shape or pixels.shape[1:]
        counts = labels.unique(return_counts=True)[1] if counts is None else counts
        return cls(codes, labels, counts, (channels, height, width), coder, dict(meta or {}), enlarging, spans, affine)

    @property
    def images(self) -> Tensor:
        """(N, C, H, W) float32, normalized."""
        return self.decode(torch.arange(len(self)))

    @property
    def image_labels(self) -> Tensor:
        return self.labels

    @property
    def decoded(self) -> int:
        """How many training images there are."""
        return len(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and of what their decoder needs (labels, which any memory needs, not counted)."""
        return sum(map(len, self.codes)) + self.codec.nbytes + (0 if self.spans is None else self.spans.nbytes)

    def select(self, rows: Tensor) -> "CodedSet":
        labels = self.labels[rows]
        kept = torch.isin(self.classes, labels)
        codes = tuple(self.codes[row] for row in rows.tolist())
        spans = None if self.spans is None else self.spans[rows]
        return replace(self, codes=codes, labels=labels, counts=self.counts[kept], spans=spans)

    @staticmethod
    def merge(sets: Sequence["CodedSet"]) -> "CodedSet":
        """All images of sets of one codec, shape and normalization; counts of a class in several sets add up.

        Raises:
            ValueError: for no sets, or sets that differ in these.
        """
        if not sets:
            raise ValueError("nothing to merge")
        kinds = {(part.codec.reads, part.shape, part.enlarging, part.spans is None) for part in sets}
        affines = [part.affine for part in sets if part.affine is not None]
        alike = all(torch.allclose(affine, affines[0]) for affine in affines) and len(affines) in (0, len(sets))
        if len(kinds) > 1 or not alike:
            raise ValueError("cannot merge sets of different codec, image shape or normalization")
        labels = torch.cat([part.labels for part in sets])
        codes = tuple(code for part in sets for code in part.codes)
        spans = None if sets[0].spans is None else torch.cat([part.spans for part in sets if part.spans is not None])
        return replace(sets[0], codes=codes, labels=labels, counts=added_counts(sets, labels.unique()), spans=spans)

    def as_stored(self) -> "CodedSet":
        """The images themselves: as many training images as stored ones."""
        return self

    def to(self, device: torch.device | str) -> "CodedSet":
        """The same set whose images are decoded onto a device."""
        spans = None if self.spans is None else self.spans.to(device)
        return replace(self, labels=self.labels.to(device), counts=self.counts.to(device), spans=spans)

    def decode(self, rows: Tensor) -> Tensor:
        """Images of given numbers: (M,) -> (M, C, H, W) float32, normalized, on the set's device."""
        pixels = [self.codec.decode(self.codes[row], self.shape[0]) for row in rows.tolist()]
        images = torch.stack(pixels).to(self.labels.device).float() / 255 if pixels else torch.zeros(0, *self.shape)
        if images.shape[2:] != self.shape[1:]:
            images = enlarge(images, self.shape[1:], self.enlarging)
        if self.spans is not None:
            low, high = self.spans[rows].to(images)[:, :, None, None, None].unbind(1)
            images = images * (high - low) + low
        if self.affine is None:
            return images
        gain, shift = self.affine.to(images.device)[:, :, None, None]
        return images * gain + shift

    @property
    def resolution(self) -> Resolution:
        """Full: other images that are only shrunk and enlarged lack what codecs do to them, and networks see that."""
        return Resolution(Decoder())
