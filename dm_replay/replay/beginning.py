"""A condensed set as a memory holds its own: in a stream's values, and stored as the memory stores."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..condensed.image_set import ImageSet
from ..data.pixels import check_units
from ..matching.config import CondenseConfig
from ..runtime.plain import flat
from ..runtime.validation import whole_number
from .standardize import Standardization

__all__ = ["begin", "stored_like"]

Values = Sequence[float]


def stored_like(config: CondenseConfig, images: ImageSet) -> CondenseConfig:
    """The config with the codec of a set, since all images of a memory are decoded alike; its storage stays."""
    storage = config.codec.storage
    codec = images.codec.but(storage=storage) if "storage" in flat(images.codec) else images.codec
    return replace(config, codec=codec)


def begin(memory: Any, images: ImageSet, task: int, mean: Values | None, std: Values | None) -> None:
    """Let an empty :class:`CondensedMemory`, with a config :func:`stored_like` it, hold a set's classes, each cut to
    its share.

    Raises:
        ValueError: if they do not fit, or as :func:`in_stream_values`.
    """
    task, shape = whole_number("task", task, 0), memory.check_shapes([images.shape])
    groups = {(task, label): len(part) for label, part in images.by_class().items()}
    memory.shares(groups, shape)
    sizes = memory.sizes(groups, shape)
    space, meta = in_stream_values(images, mean, std)
    stored = replace(images.with_storage(memory.fitted(shape).storage), affine=None, meta=meta)
    memory.held = {group: stored.of_class(group[1]).prefix(size) for group, size in sizes.items()}
    memory.standardization, memory.updates = space, 1


def in_stream_values(
    images: ImageSet, mean: Values | None, std: Values | None
) -> tuple[Standardization, dict[str, Any]]:
    """The standardization between a stream's values and a set's own, and the set's metadata with the stream's.

    Args:
        mean, std: of the stream's normalization, in units of [0, 1]; None for the set's own.

    Raises:
        ValueError: if the set does not say its own, so that others cannot be reached from there.
    """
    channels = images.shape[0]
    gain, shift, known = torch.ones(channels), torch.zeros(channels), dict[str, Any]()
    if mean is not None or std is not None:
        known = {"mean": _checked("mean", mean, channels), "std": _checked("std", std, channels)}
        check_units(known["mean"], known["std"])
        gain, shift = _between(images, torch.tensor(known["mean"]), torch.tensor(known["std"]))
    own = images.with_affine(gain, shift).affine
    assert own is not None
    return Standardization(own[1].clone(), own[0].clone()), images.meta | known


def _checked(name: str, values: Values | None, channels: int) -> list[float]:
    if values is None:
        raise ValueError(f"a stream's normalization has a mean and a std; {name} is missing")
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    if len(found) != channels or not all(map(math.isfinite, found)):
        raise ValueError(f"expected {channels} values of {name}, one for each channel, got {values!r}")
    if name == "std" and not min(found) > 0:
        raise ValueError(f"std must be above 0 in every channel, got {found}")
    return found


def _between(images: ImageSet, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """gain and shift (C,) from the set's own values to those normalized by mean and std."""
    if "mean" not in images.meta or "std" not in images.meta:
        raise ValueError(
            "the set does not say the mean and std that it was normalized by, so its images cannot be brought to a "
            "stream's values; leave mean and std out if these are the same"
        )
    own_mean, own_std = (torch.tensor(images.meta[name], dtype=torch.float32) for name in ("mean", "std"))
    return own_std / std, (own_mean - mean) / std
