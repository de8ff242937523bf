"""Random real images of every class, coded as WebP or JPEG in the bytes of a few raw ones."""

import math

import torch
from torch import Tensor

from ..condensed.coded_set import CodedSet
from ..data.pixels import averaged
from ..data.pool import TensorPool
from ..runtime.seeding import new_generator
from .config import CodedConfig
from .random import about_pool, check_enough

__all__ = ["BEST", "coded_exemplars", "shrunk"]

BEST = 95  # of Pillow's qualities; above, files grow and pictures do not get better


def coded_exemplars(pool: TensorPool, config: CodedConfig | None = None, *, seed: int = 0) -> CodedSet:
    """``config.images`` random real images of every class at the highest quality that fits the bytes.

    They are those of ``config.ipc`` raw images of one byte a value for each class, all classes together.

    Raises:
        ValueError: if a class has fewer images, the pool's pixels are not uint8, or no quality fits.

    >>> from dm_replay import load_dataset
    >>> from dm_replay.coresets.coded import coded_exemplars
    >>> from dm_replay.coresets.config import CodedConfig
    >>> train = load_dataset("digits").train
    >>> coded = coded_exemplars(train, CodedConfig(ipc=10, images=8))
    >>> len(coded), coded.nbytes <= 10 * 10 * 8 * 8
    (80, True)
    """
    config = config or CodedConfig()
    check_enough(pool, config.images)
    if pool.images.dtype != torch.uint8:
        raise ValueError(f"only uint8 pixels can be coded, got {pool.images.dtype}")
    rows = pool.draw_indices(pool.classes, config.images, new_generator(seed, "random")).flatten()
    pixels = shrunk(pool.raw(rows).cpu(), config.shrink)
    labels = pool.classes.repeat_interleave(config.images)
    budget = config.ipc * len(pool.classes) * math.prod(pool.shape)
    about = {"seed": seed, **about_pool(pool)}

    def coded(quality: int) -> CodedSet:
        return CodedSet.from_pixels(
            pixels,
            labels,
            config.codec,
            quality,
            shape=pool.shape,
            counts=pool.counts,
            meta=about,
            enlarging=config.enlarging,
            affine=_normalization(pool),
        )

    best, low, high = None, 1, BEST
    while low <= high:
        quality = (low + high) // 2
        tried = coded(quality)
        if tried.nbytes <= budget:
            best, low = tried, quality + 1
        else:
            high = quality - 1
    if best is None:
        raise ValueError(
            f"{config.images} images of each class as {config.codec} do not fit {budget} bytes at any quality: "
            "lower images or raise shrink"
        )
    return best


def _normalization(pool: TensorPool) -> Tensor:
    """(2, C): what pixels of [0, 1] are multiplied by and shifted by."""
    channels = pool.shape[0]
    mean, std = torch.tensor(pool.mean or [0.0] * channels), torch.tensor(pool.std or [1.0] * channels)
    return torch.stack([1 / std, -mean / std])


def shrunk(pixels: Tensor, factor: int) -> Tensor:
    """uint8 pixels (N, C, H, W) with sides divided by a factor, averaged."""
    height, width = (max(1, side // factor) for side in pixels.shape[2:])
    return averaged(pixels, (height, width))
