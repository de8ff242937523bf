"""Picture files as uint8 pixels: one by one, without losing what has more than eight bits, and many by threads."""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

__all__ = ["decoded_blocks", "large_pictures_refused", "pixels_of", "read_rgb"]

BLOCK = 16 * 2**20  # bytes of pixels decoded at a time; 1,365 pictures of 64 x 64
KEPT = ("L", "LA", "RGB", "RGBA")
SIXTEEN_BITS = ("PNG", "PPM")  # formats whose mode "I" is 16 bits a pixel; in TIFF it is 32


def read_rgb(path: str | Path, size: int | None = None) -> np.ndarray:
    """The picture in a file as RGB: (3, H, W) uint8. Sixteen bits are scaled to eight, v / 257 rounded.

    Args:
        size: pixels a side of the square that is wanted: the shorter side is scaled to it, and the middle kept. What
            EXIF says of the orientation is ignored, as torchvision ignores it.

    Raises:
        ValueError: naming the file, if it is no picture, damaged, larger than :data:`PIL.Image.MAX_IMAGE_PIXELS` or of
            32 bits a channel, whose range is unknown.
    """
    try:
        with Image.open(path) as image:
            _check_size(image)
            if size is not None:
                image.draft("RGB", (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size
            rgb = _eight_bits(image).convert("RGB")
            return np.asarray(rgb if size is None else _square(rgb, size)).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error


def pixels_of(image: Image.Image) -> np.ndarray:
    """A Pillow image as (C, H, W), uint8, with the channels it has; palettes become RGB.

    Raises:
        ValueError: for 32 bits a channel, whose range is unknown.
    """
    image = _eight_bits(image)
    if image.mode not in KEPT:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.ascontiguousarray(np.atleast_3d(np.asarray(image)).transpose(2, 0, 1))


@contextmanager
def large_pictures_refused() -> Iterator[None]:
    """Inside, Pillow does not also warn of a picture that :func:`read_rgb` refuses for its size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _square(image: Image.Image, size: int) -> Image.Image:
    """The largest square in the middle, scaled to size × size; averaging where it shrinks."""
    return ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)


def _check_size(image: Image.Image) -> None:
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and image.width * image.height > most:
        raise ValueError(f"{image.width}x{image.height} pixels are more than the {most:,} that a picture may have")


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_BITS):
        values = np.asarray(image).astype(np.int64).clip(0, 65_535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("F", "I"):
        kind = "floats" if image.mode == "F" else "32-bit integers"
        raise ValueError(f"its pixels are {kind}, whose range is unknown; expected 8 or 16 bits a channel")
    return image


def decoded_blocks(
    files: Sequence[str], title: str, read: Callable[[str], np.ndarray] = read_rgb
) -> Iterator[np.ndarray]:
    """The pictures as (B, 3, H, W) uint8, in order and of one size, with a bar; each block takes the place of the last.

    Threads help: Pillow decodes without holding the interpreter.

    Args:
        read: a file to (3, H, W) uint8.
    """
    with tqdm(total=len(files), desc=title, unit=" images", delay=1) as bar:
        shape = read(files[0]).shape
        buffer = np.empty((max(1, min(len(files), BLOCK // max(1, int(np.prod(shape))))), *shape), np.uint8)

        def place(row: int, file: str) -> None:
            pixels = read(file)
            if pixels.shape != shape:
                sizes = (f"{name} is {s[2]}x{s[1]}" for name, s in ((file, pixels.shape), (files[0], shape)))
                raise ValueError(f"images of unequal size: {', '.join(sizes)}")
            buffer[row] = pixels

        workers = ThreadPoolExecutor(os.cpu_count())
        try:
            for begin in range(0, len(files), len(buffer)):
                block = files[begin : begin + len(buffer)]
                for _ in workers.map(place, range(len(block)), block):
                    bar.update()
                yield buffer[: len(block)]
        finally:
            workers.shutdown(cancel_futures=True)
