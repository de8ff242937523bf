"""Mini-batches as a dataset's collate function makes them: whether they are images with a class each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor

from ..data.pixels import check_planar

__all__ = ["checked", "collated", "read_items"]


def read_items(dataset: AvalancheDataset, rows: Sequence[int]) -> list[Tensor]:
    """Items of a dataset, in the mode that it is in, as one mini-batch that :func:`checked` takes."""
    return checked(collated(dataset.collate_fn, [dataset[row] for row in rows]))


def collated(collate_fn: Any, items: Sequence) -> Any:
    """The items as a mini-batch; ValueError if they are no tensors or numbers, or images of several sizes."""
    try:
        return collate_fn(items)
    except TypeError as error:
        kind, label = (type(part).__name__ for part in items[0][:2])
        if isinstance(items[0][0], Tensor | np.ndarray):
            raise ValueError(f"expected labels that are whole numbers, got {label}") from error
        raise ValueError(
            f"expected tensors after the eval transforms, got {kind}: "
            "give the benchmark an eval_transform that ends in a tensor"
        ) from error
    except RuntimeError as error:
        sizes = list(dict.fromkeys(tuple(item[0].shape) for item in items if isinstance(item[0], Tensor | np.ndarray)))
        if len(sizes) < 2:
            raise
        raise ValueError(f"expected images of one shape, got {sizes[0]} and {sizes[1]}") from error


def checked(batch: Any) -> list[Tensor]:
    """A mini-batch's images (N, C, H, W), labels (N,) and, where it has them, task labels (N,), on the CPU."""
    if not isinstance(batch, Sequence) or len(batch) not in (2, 3):
        parts = f"{len(batch)} parts" if isinstance(batch, Sequence) else f"a {type(batch).__name__}"
        raise ValueError(f"expected items (x, y) or (x, y, task label), got {parts}")
    images, *numbers = batch
    if not isinstance(images, Tensor | np.ndarray):
        raise ValueError(f"expected each x to be an image as a tensor, got {type(images).__name__}")
    images = torch.as_tensor(images).detach().cpu()
    if images.ndim != 4:
        hint = ": gray images are (1, H, W), signals (C, 1, L)" if images.ndim == 3 else ""
        raise ValueError(f"expected images (C, H, W), got {tuple(images.shape[1:])} for each x{hint}")
    if images.is_complex():
        raise ValueError(f"expected images of real numbers, got {images.dtype}")
    check_planar(images.shape[1:])
    labels, *tasks = (_whole_numbers(part, len(images)) for part in numbers)
    if (labels < 0).any():
        raise ValueError(f"expected labels from 0, got {int(labels.min())}: leave out images that have no class")
    return [images, labels, *tasks]


def _whole_numbers(part: Any, images: int) -> Tensor:
    """One for each image, (N,)."""
    first = part if isinstance(part, Mapping) else part[0] if isinstance(part, Sequence) and len(part) else None
    if isinstance(first, Mapping | str | bytes):
        raise ValueError(f"expected labels that are whole numbers, got {type(first).__name__}")
    if isinstance(part, Sequence) and (len(part) != images or (isinstance(first, Tensor) and first.ndim)):
        raise ValueError(f"expected one label for each image, got {len(part)} values")
    try:
        found = torch.as_tensor(part).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"expected labels that are whole numbers, got {type(first or part).__name__}") from error
    if found.ndim != 1:
        raise ValueError(f"expected one label for each image, got {tuple(found.shape[1:])}")
    if found.is_floating_point() or found.is_complex():
        raise ValueError(f"expected labels that are whole numbers, got {found.dtype}")
    return found
