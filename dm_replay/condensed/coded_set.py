"""CodedSet: real images kept as small image files, read like a condensed set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .coding import ImageCodec
from .formation import enlarge

__all__ = ["CodedSet"]


@dataclass(frozen=True, eq=False)
class CodedSet:
    """Images with hard labels, each the bytes of one WebP or JPEG picture. Make one with :meth:`from_pixels`.

    Attributes:
        codes: N byte strings. labels: (N,) int64. counts: (K,) real images that each class stands for.
        shape: (C, H, W) of the training images, to which smaller pictures are enlarged.
        enlarging: how, "linear" or "sharp"; see :class:`Decoder`.
        codec: what reads the codes.
        meta: plain metadata, with mean and std of the normalization.

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
    ) -> "CodedSet":
        """Code uint8 pixels (N, C, h, w) with labels (N,).

        Raises:
            ValueError: for an unknown codec, pixels that are not uint8, or channels that pictures do not have.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] not in (1, 3):
            raise ValueError(f"expected uint8 pixels (N, 1 or 3, H, W), got {pixels.dtype} {tuple(pixels.shape)}")
        coder = ImageCodec(codec, quality)
        codes = tuple(map(coder.encode, pixels))
        channels, height, width = shape or pixels.shape[1:]
        counts = labels.unique(return_counts=True)[1] if counts is None else counts
        return cls(codes, labels, counts, (channels, height, width), coder, dict(meta or {}), enlarging)

    @property
    def images(self) -> Tensor:
        """(N, C, H, W) float32, normalized."""
        return self.decode(torch.arange(len(self)))

    @property
    def image_labels(self) -> Tensor:
        return self.labels

    @property
    def classes(self) -> Tensor:
        """(K,) int64, sorted."""
        return self.labels.unique()

    @property
    def decoded(self) -> int:
        """How many training images there are."""
        return len(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and of what their decoder needs (labels, which any memory needs, not counted)."""
        return sum(map(len, self.codes)) + self.codec.nbytes

    def __len__(self) -> int:
        return len(self.codes)

    def decode(self, rows: Tensor) -> Tensor:
        """Images of given numbers: (M,) -> (M, C, H, W) float32, normalized."""
        pixels = [self.codec.decode(self.codes[row], self.shape[0]) for row in rows.tolist()]
        images = torch.stack(pixels).float() / 255 if pixels else torch.zeros(0, *self.shape)
        if images.shape[2:] != self.shape[1:]:
            images = enlarge(images, self.shape[1:], self.enlarging)
        mean, std = (self._per_channel(name, value) for name, value in (("mean", 0.0), ("std", 1.0)))
        return (images - mean) / std

    def _per_channel(self, name: str, default: float) -> Tensor:
        values: Sequence[float] = self.meta.get(name, [default] * self.shape[0])
        return torch.tensor(values)[:, None, None]
