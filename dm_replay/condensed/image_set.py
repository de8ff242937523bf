"""ImageSet: a few images per class, condensed or real, as a value that can be cut, joined, stored and read back."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..data.classes import ByClass, class_labels
from ..data.pixels import averaged
from ..runtime.hardware import cpu_by_default
from .checks import one_line
from .codec import Codec, Shape
from .set_file import read_set, write_set
from .stored import Stored
from .tiles import PLAIN

__all__ = ["ImageSet"]


@cpu_by_default
@dataclass(frozen=True, eq=False)
class ImageSet(ByClass):
    """Images with hard labels, stored by a codec. Make one with :meth:`from_images`.

    Attributes:
        stored: N stored images. labels: (N,) int64; the images of a class keep their order, and its first k are what
            :meth:`prefix` keeps.
        counts: (K,) int64, how many real images each class stands for, in the order of ``classes``.
        shape: (C, H, W) of the training images. codec: what stores and decodes them.
        meta: plain metadata (settings, seed, mean and std of the normalization, class names).
        affine: (2, C), what decoded images are multiplied by and shifted by; None for neither.

    >>> import torch
    >>> from dm_replay import PLAIN, ImageSet
    >>> images, labels = torch.rand(6, 3, 8, 8), torch.tensor([0, 0, 0, 1, 1, 1])
    >>> condensed = ImageSet.from_images(images, labels, PLAIN.but(storage="uint8"))
    >>> condensed.nbytes  # a byte for each value, a scale and an offset for each channel of an image
    1296
    >>> condensed.save("condensed.pt")
    >>> len(ImageSet.load("condensed.pt").of_class(1))
    3
    """

    stored: Stored
    labels: Tensor
    counts: Tensor
    shape: Shape
    codec: Codec
    meta: dict[str, Any] = field(default_factory=dict)
    affine: Tensor | None = None

    @classmethod
    def from_images(
        cls,
        images: Tensor,
        labels: Tensor,
        codec: Codec = PLAIN,
        counts: Tensor | None = None,
        meta: dict[str, Any] | None = None,
    ) -> "ImageSet":
        """Store images (N · images_per_stored, C, H, W) of normalized values.

        Args:
            labels: (N,), of the stored images. codec: fitted here. counts: by default those of the stored images.

        Raises:
            ValueError: for shapes that do not fit each other or the codec, labels that are not whole numbers from 0,
                or values that are not finite or too large for the storage.
        """
        if images.ndim != 4:
            raise ValueError(f"expected images (N, C, H, W), got {tuple(images.shape)}")
        channels, height, width = images.shape[1:]
        codec = codec.fit((channels, height, width))
        if len(images) != len(labels) * codec.images_per_stored:
            due = f"({len(labels) * codec.images_per_stored}, C, H, W) for {len(labels)} labels"
            raise ValueError(f"expected images {due}, got {tuple(images.shape)}")
        working = averaged(images, codec.working_shape((channels, height, width))[1:])
        return cls.from_values(codec.encode(working), labels, codec, (channels, height, width), counts, meta)

    @classmethod
    def from_values(
        cls,
        values: Tensor,
        labels: Tensor,
        codec: Codec,
        shape: Shape,
        counts: Tensor | None = None,
        meta: dict[str, Any] | None = None,
    ) -> "ImageSet":
        """Store values (N, …) as a fitted codec encodes images (C, H, W), in memory of the set's own.

        Raises:
            ValueError: likewise.
        """
        if values.shape[1:] != codec.value_shape(shape) or labels.shape != values.shape[:1]:
            expected = f"values (N, {', '.join(map(str, codec.value_shape(shape)))}) and labels (N,)"
            raise ValueError(f"expected {expected}, got {tuple(values.shape)}, {tuple(labels.shape)}")
        if not values.isfinite().all():
            raise ValueError("the images hold NaN or infinite values")
        values, labels = values.detach().cpu(), class_labels(labels)
        counts = labels.unique(return_counts=True)[1] if counts is None else counts
        counts = counts.detach().to("cpu", torch.int64, copy=True)
        if len(counts) != len(labels.unique()):
            raise ValueError(f"expected {len(labels.unique())} counts, one for each class, got {len(counts)}")
        made = cls(codec.store(values), labels, counts, shape, codec, dict(meta or {}))
        if not made.values.isfinite().all():
            raise ValueError(f"storage {codec.storage} cannot hold values as large as {float(values.abs().max()):.3g}")
        return made

    @property
    def values(self) -> Tensor:
        """(N, …) float32, the values of the stored images, before ``affine``: a copy."""
        return self.codec.read(self.stored, torch.arange(len(self), device=self.labels.device))

    @property
    def images(self) -> Tensor:
        """(N · images_per_stored, C, H, W) float32, those of a stored image one after another: a copy."""
        return self.decode(torch.arange(self.decoded, device=self.labels.device))

    @property
    def image_labels(self) -> Tensor:
        """(N · images_per_stored,) int64, the label of each training image."""
        return self.labels.repeat_interleave(self.codec.images_per_stored)

    @property
    def decoded(self) -> int:
        """How many training images there are."""
        return len(self) * self.codec.images_per_stored

    @property
    def storage(self) -> str:
        return self.codec.storage

    @property
    def nbytes(self) -> int:
        """Bytes of all that decoding needs (labels, which any memory needs, not counted)."""
        return self.stored.nbytes + (0 if self.affine is None else self.affine.nbytes)

    def decode(self, rows: Tensor) -> Tensor:
        """Training images of given numbers: (M,) -> (M, C, H, W) float32, on the set's device."""
        return self.mapped(self.decode_before_affine(rows))

    def decode_before_affine(self, rows: Tensor) -> Tensor:
        """As :meth:`decode`, in the values that were encoded."""
        each = self.codec.images_per_stored
        values = self.codec.read(self.stored, rows // each)
        own = torch.arange(len(rows), device=rows.device) * each
        return self.codec.decode(values, own + rows % each, self.shape[1:])

    def mapped(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) of :meth:`decode_before_affine` in the values of the set."""
        if self.affine is None:
            return images
        return torch.addcmul(self.affine[1][:, None, None], images, self.affine[0][:, None, None])

    def folded(self) -> "ImageSet":
        """The same images with ``affine`` in the ranges of their channels where these can hold it: to decode often."""
        if self.affine is None or not self.codec.channelwise:
            return self
        folded = self.stored.folded(*self.affine)
        return self if folded is None else replace(self, stored=folded, affine=None)

    def resample(self, images: Tensor) -> Tensor:
        """Other images (N, C, H, W), in the values of the set, as rough as its own."""
        if self.affine is None or self.codec.channelwise:
            return self.codec.resample(images)
        gain, shift = self.affine[:, :, None, None]
        return self.codec.resample((images - shift) / gain) * gain + shift

    def select(self, rows: Tensor) -> "ImageSet":
        """The stored images of the given numbers (M,), in that order; classes that lose all their images are gone."""
        labels = self.labels[rows]
        kept = torch.isin(self.classes, labels)
        return replace(self, stored=self.stored.select(rows), labels=labels, counts=self.counts[kept])

    def within(self, nbytes: int) -> "ImageSet":
        """Of each class the longest prefix that takes at most so many bytes, and one image at least."""
        costs = self.stored.costs
        ends = {label: costs[self.labels == label].cumsum(0) for label in self.classes.tolist()}
        return self.prefix({label: max(1, int((own <= nbytes).sum())) for label, own in ends.items()})

    def with_affine(self, gain: Tensor, shift: Tensor) -> "ImageSet":
        """The same images, multiplied by ``gain`` and shifted by ``shift``, (C,) each."""
        before = torch.stack([torch.ones_like(gain), torch.zeros_like(shift)]) if self.affine is None else self.affine
        return replace(self, affine=torch.stack([before[0] * gain, before[1] * gain + shift]))

    def with_storage(self, storage: str) -> "ImageSet":
        """The same images with values stored otherwise, see :class:`Tiles`."""
        if storage == self.storage:
            return self
        codec = self.codec.but(storage=storage)
        made = ImageSet.from_values(self.values, self.labels, codec, self.shape, self.counts, self.meta)
        return replace(made, affine=self.affine)

    def as_stored(self) -> "ImageSet":
        """The stored images themselves as training images, to be looked at."""
        return replace(self, codec=self.codec.whole(), shape=self.codec.working_shape(self.shape))

    def with_values(self, values: Tensor) -> "ImageSet":
        """As many other stored images (N, …) of the same labels."""
        return replace(self, stored=self.codec.store(values))

    def to(self, device: torch.device | str) -> "ImageSet":
        """The same set with its tensors on a device, for :meth:`decode` there."""
        affine = None if self.affine is None else self.affine.to(device)
        labels, counts = self.labels.to(device), self.counts.to(device)
        return replace(self, stored=self.stored.to(device), labels=labels, counts=counts, affine=affine)

    def with_meta(self, **meta: Any) -> "ImageSet":
        return replace(self, meta={**self.meta, **meta})

    @staticmethod
    def merge(sets: Sequence["ImageSet"]) -> "ImageSet":
        """All images of sets of one codec and image shape; counts of a class in several sets add up.

        Raises:
            ValueError: for no sets, or sets that differ in these.
        """
        if not sets:
            raise ValueError("nothing to merge")
        kinds = {(part.codec, part.shape) for part in sets}
        affines = [part.affine for part in sets if part.affine is not None]
        alike = len(affines) in (0, len(sets)) and all(torch.allclose(affine, affines[0]) for affine in affines)
        if len(kinds) > 1 or not alike:
            raise ValueError(f"cannot merge sets of different codec, image shape or normalization: {kinds}")
        labels, classes = torch.cat([part.labels for part in sets]), torch.cat([part.classes for part in sets])
        counts = torch.zeros_like(labels.unique())
        counts.index_add_(0, torch.searchsorted(labels.unique(), classes), torch.cat([part.counts for part in sets]))
        stored = type(sets[0].stored).join([part.stored for part in sets])
        return replace(sets[0], stored=stored, labels=labels, counts=counts)

    def save(self, path: str | Path) -> None:
        """Write tensors and plain values with a checksum, atomically."""
        write_set(self, path)

    @classmethod
    def load(cls, path: str | Path) -> "ImageSet":
        """Read a file of :meth:`save`, or a ``res_*.pt`` of the official code (its last experiment). Runs no code.

        Raises:
            ValueError: if the file is missing, damaged or something else.
        """
        content = read_set(Path(path))
        try:
            return cls.from_images(**content) if "images" in content else cls(**content)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{path} is a damaged set: {one_line(error)}") from error
