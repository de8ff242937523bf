"""A look at some images of an experience before it is trained: all would take as long as an epoch."""

from collections.abc import Sequence

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor

from ..runtime.seeding import undisturbed
from .collated import read_items

__all__ = ["check_train_size", "some_images"]

LOOK = 16  # images; where each has a size of its own, two are enough


def some_images(dataset: AvalancheDataset) -> Tensor:
    """A few images (M, C, H, W) uint8 or float32, evenly spaced, in eval mode.

    The global random generators are left alone.

    Raises:
        ValueError: if they cannot be condensed, are of several sizes or not finite.
    """
    rows = torch.linspace(0, len(dataset) - 1, min(LOOK, len(dataset))).long().tolist()
    with undisturbed():
        images = [read_items(dataset.eval(), [row])[0] for row in rows]
    for row, image in zip(rows, images, strict=True):
        if image.shape != images[0].shape:
            sizes = f"image 0 has {tuple(images[0].shape[1:])}, image {row} {tuple(image.shape[1:])}"
            raise ValueError(f"expected images of one shape after the eval transforms: {sizes}")
        if not image.isfinite().all():
            raise ValueError(f"image {row} of the experience holds NaN or infinite values")
    whole = torch.cat(images)
    return whole if whole.dtype == torch.uint8 else whole.float()


def check_train_size(dataset: AvalancheDataset, shape: Sequence[int]) -> None:
    """ValueError unless train transforms give images of the shape that eval transforms give, (C, H, W).

    Mini-batches are of both: current images come from the ones, the memory's from the others.
    """
    with undisturbed():
        trained = tuple(read_items(dataset.train(), [0])[0].shape[1:])
    if trained != tuple(shape):
        raise ValueError(
            f"images are {trained} after the train transforms and {tuple(shape)} after the eval transforms, which the "
            "memory keeps: mini-batches of both need one shape"
        )
