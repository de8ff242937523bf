"""Many picture files decoded by threads, a block at a time."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

from .pictures import read_rgb

__all__ = ["decoded_blocks"]

BLOCK = 16 * 2**20  # bytes of pixels decoded at a time; 1,365 pictures of 64 x 64


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
