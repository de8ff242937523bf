"""Webp: each image a small WebP file of a fixed number of bytes."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ..runtime.settings import check_choices, check_whole_numbers
from .checks import are_floats, described, expect, rows_of
from .codec import Codec, Shape
from .mosaic import ENLARGING, enlarge
from .stored import Stored

__all__ = ["Files", "Webp"]

SMALLEST = 112  # bytes in which WebP of 16 x 16 is still of middling quality (half of it are headers)
HALVED = 16  # pixels; smaller pictures are not halved before they are coded
PART = 20  # of the bytes of a raw image: at half size, what had the best accuracy of real images in the same bytes
BEST = 95  # of Pillow's qualities; above, files grow and pictures do not get better
SPAN = 8  # bytes of what is black and what is white in a picture


@dataclass(frozen=True, eq=False)
class Files(Stored):
    """Files of pictures of one or three channels.

    Attributes:
        codes: N byte strings. spans: (N, 2) float32, the values that stand for black and white.
    """

    codes: tuple[bytes, ...]
    spans: Tensor
    channels: int

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def costs(self) -> Tensor:
        return torch.tensor([len(code) + SPAN for code in self.codes])

    def select(self, rows: Tensor) -> "Files":
        return replace(self, codes=tuple(self.codes[row] for row in rows.tolist()), spans=self.spans[rows])

    def to(self, device: torch.device | str) -> "Files":
        return replace(self, spans=self.spans.to(device))

    @classmethod
    def join(cls, parts: Sequence["Files"]) -> "Files":
        codes = tuple(code for part in parts for code in part.codes)
        return cls(codes, torch.cat([part.spans for part in parts]), parts[0].channels)

    def fields(self) -> dict[str, Tensor]:
        """The codes one behind another, (bytes,) uint8, with the length of each."""
        codes = torch.frombuffer(bytearray(b"".join(self.codes)), dtype=torch.uint8)
        return {"codes": codes, "lengths": torch.tensor([len(code) for code in self.codes]), "spans": self.spans}


@dataclass(frozen=True)
class Webp(Codec):
    """Files that each take at most ``most`` bytes, of the best quality that these allow.

    Args:
        most: bytes of a file; 0 takes a twentieth of the raw image's, at least 112.
        shrink: what sides are divided by before; 0 takes 2 from sides of 16 pixels on.
        enlarging: of shrunk images, see :class:`Tiles`.

    Raises:
        ValueError: for a value that is none of its choices.

    >>> import torch
    >>> from dm_replay import Webp
    >>> codec = Webp().fit((3, 32, 32))
    >>> stored = codec.store(codec.encode(torch.rand(5, 3, 16, 16)))
    >>> stored.nbytes <= 5 * codec.nbytes((3, 32, 32)) == 5 * (153 + 8)
    True
    """

    most: int = 0
    shrink: int = 0
    enlarging: str = "sharp"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, most=0, shrink=0)
        check_choices(self, enlarging=ENLARGING)

    def fit(self, shape: Shape, nbytes: int | None = None) -> "Webp":
        """As :meth:`Codec.fit`.

        Raises:
            ValueError: for images that are too small, or of other than one or three channels.
        """
        raw, most = math.prod(shape), self.most or max(SMALLEST, math.prod(shape) // PART)
        if most >= raw or shape[0] not in (1, 3):
            raise ValueError(f"images of {shape} cannot be kept as WebP: choose another codec")
        return replace(self, most=most, shrink=self.shrink or (2 if min(shape[1:]) >= HALVED else 1))

    def working_shape(self, shape: Shape) -> Shape:
        channels, height, width = shape
        return channels, max(1, height // self.shrink), max(1, width // self.shrink)

    def full(self, shape: Shape) -> bool:
        return True  # what is only shrunk and enlarged lacks what files do to images, and networks see that

    def nbytes(self, shape: Shape) -> int:
        return self.most + SPAN

    def encode(self, images: Tensor) -> Tensor:
        return images

    def decode(self, values: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
        images = values[rows]
        return images if images.shape[2:] == size else enlarge(images, size, self.enlarging)

    def store(self, values: Tensor) -> Files:
        spans = torch.stack([values.amin((1, 2, 3)), values.amax((1, 2, 3))], dim=1).float().cpu()
        low, high = spans.to(values)[:, :, None, None, None].unbind(1)
        pixels = ((values - low) / (high - low).clamp_min(1e-6) * 255).round().clamp(0, 255).to(torch.uint8)
        return Files(tuple(_fitted(picture, self.most) for picture in pixels.cpu()), spans, values.shape[1])

    def read(self, stored: Files, rows: Tensor) -> Tensor:
        pixels = torch.stack([_decoded(stored.codes[row], stored.channels) for row in rows.tolist()])
        pixels = pixels.to(stored.spans.device).float()
        low, high = stored.spans[rows][:, :, None, None, None].unbind(1)
        return pixels / 255 * (high - low) + low

    def stored_of(self, fields: dict[str, Any], shape: Shape) -> Files:
        expect(set(fields) == {"codes", "lengths", "spans"}, f"it stores {', '.join(map(str, fields))}")
        codes, lengths, spans = fields["codes"], fields["lengths"], fields["spans"]
        size, many = rows_of(codes, torch.uint8), rows_of(lengths, torch.int64)
        fits = many > 0 and bool((lengths > 0).all()) and int(lengths.sum()) == size
        expect(fits, f"{many} lengths of {size} bytes")
        expect(are_floats(spans) and spans.shape == (many, 2), f"spans {described(spans)}")
        found = tuple(bytes(code.tolist()) for code in codes.split(lengths.tolist()))
        for code in found:
            _check_picture(code, self.working_shape(shape))
        return Files(found, spans, shape[0])


def _check_picture(code: bytes, shape: Shape) -> None:
    try:
        with Image.open(io.BytesIO(code), formats=["webp"]) as picture:
            fits = (picture.height, picture.width) == shape[1:]
            if fits:
                picture.load()
    except Exception as error:  # whatever a damaged picture makes of it
        raise ValueError(f"a code is no picture ({type(error).__name__} while reading it)") from error
    expect(fits, f"a picture of other than {shape[1]} x {shape[2]} pixels")


def _fitted(image: Tensor, most: int) -> bytes:
    """A uint8 picture (C, h, w) of the best quality in so many bytes; one too rich for the lowest is made smoother."""
    smoother = image
    for block in (1, 2, 4, 8, 16, max(image.shape[1:])):
        if block > 1:
            coarse = F.avg_pool2d(image.float(), block, ceil_mode=True)
            smoother = F.interpolate(coarse[None], image.shape[1:])[0].round().to(torch.uint8)
        code = _best(smoother, most)
        if code is not None:
            return code
    raise ValueError(f"not even a plain picture of {tuple(image.shape)} fits {most} bytes as WebP")


def _best(image: Tensor, most: int) -> bytes | None:
    best, low, high = None, 0, BEST
    while low <= high:
        quality = (low + high) // 2
        code = _coded(image, quality)
        if len(code) <= most:
            best, low = code, quality + 1
        else:
            high = quality - 1
    return best


def _coded(image: Tensor, quality: int) -> bytes:
    values, file = image.permute(1, 2, 0).numpy(), io.BytesIO()
    Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values).save(file, "webp", quality=quality, method=6)
    return file.getvalue()


def _decoded(code: bytes, channels: int) -> Tensor:
    """(C, h, w) uint8."""
    with Image.open(io.BytesIO(code)) as picture:
        values = np.array(picture.convert("L" if channels == 1 else "RGB"))
    return torch.from_numpy(values.reshape(*values.shape[:2], channels)).permute(2, 0, 1)
