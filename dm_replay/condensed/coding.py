"""Image files of a few hundred bytes: WebP and JPEG without what is the same in every file."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

__all__ = ["CODECS", "ImageCodec"]

CODECS = ("webp", "jpeg")
END = 2  # bytes of the markers that begin and end a JPEG stream


class ImageCodec:
    """uint8 images (C, H, W) of one or three channels to bytes and back.

    JPEG's tables are kept once, not with each image.

    Args:
        name: "webp" or "jpeg". quality: 0 to 100, as Pillow counts it.

    >>> import torch
    >>> from dm_replay.condensed.coding import ImageCodec
    >>> codec, image = ImageCodec("jpeg", 90), torch.full((3, 32, 32), 99, dtype=torch.uint8)
    >>> code = codec.encode(image)
    >>> len(code) < 200, int((codec.decode(code).int() - image.int()).abs().max()) <= 2
    (True, True)
    """

    def __init__(self, name: str, quality: int):
        if name not in CODECS:
            raise ValueError(f"unknown codec {name!r}; choose from {', '.join(CODECS)}")
        self.name, self.quality = name, quality
        self._tables: dict[int, bytes] = {}

    def encode(self, image: Tensor) -> bytes:
        picture = _picture(image)
        if self.name == "webp":
            return self._file(picture, method=6)
        self._remember_tables(len(image))
        return self._file(picture, streamtype=2)

    @property
    def reads(self) -> tuple[str, int | None]:
        """What its codes need to be decoded: JPEG's tables are those of a quality, WebP tells everything itself."""
        return self.name, self.quality if self.name == "jpeg" else None

    def fitted(self, image: Tensor, most: int) -> bytes:
        """The code of the best quality up to this one that takes no more than ``most`` bytes; of WebP only.

        What is too rich for the lowest quality is made smoother until it fits.

        Raises:
            ValueError: if even a plain picture does not fit, or codes of several qualities could not be told apart.
        """
        if self.name != "webp":
            raise ValueError(f"only the quality of webp can differ from image to image, got {self.name}")
        smoother = image
        for block in (1, 2, 4, 8, 16, max(image.shape[1:])):
            if block > 1:
                coarse = F.avg_pool2d(image.float(), block, ceil_mode=True)
                smoother = F.interpolate(coarse[None], image.shape[1:])[0].round().to(torch.uint8)
            code = self._best(smoother, most)
            if code is not None:
                return code
        raise ValueError(f"not even a plain picture of {tuple(image.shape)} fits {most} bytes as {self.name}")

    def _best(self, image: Tensor, most: int) -> bytes | None:
        best, low, high = None, 0, self.quality
        while low <= high:
            quality = (low + high) // 2
            code = ImageCodec(self.name, quality).encode(image)
            if len(code) <= most:
                best, low = code, quality + 1
            else:
                high = quality - 1
        return best

    def decode(self, code: bytes, channels: int = 3) -> Tensor:
        """(C, H, W) uint8."""
        if self.name == "jpeg":
            self._remember_tables(channels)
            code = self._tables[channels][:-END] + code[END:]
        with Image.open(io.BytesIO(code)) as picture:
            values = np.array(picture.convert("L" if channels == 1 else "RGB"))
        return torch.from_numpy(values.reshape(*values.shape[:2], channels)).permute(2, 0, 1)

    @property
    def nbytes(self) -> int:
        """What decoding needs beside the codes themselves."""
        return sum(map(len, self._tables.values()))

    def _remember_tables(self, channels: int) -> None:
        """Those of a quality do not depend on the image."""
        if channels not in self._tables:
            blank = _picture(torch.zeros(channels, 8, 8, dtype=torch.uint8))
            self._tables[channels] = self._file(blank, streamtype=1)

    def _file(self, picture: Image.Image, **options) -> bytes:
        file = io.BytesIO()
        picture.save(file, self.name, quality=self.quality, **options)
        return file.getvalue()


def _picture(image: Tensor) -> Image.Image:
    values = image.permute(1, 2, 0).numpy()
    return Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values)
