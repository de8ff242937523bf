"""A condensed set as a memory holds its own: in a stream's values, and stored as the memory stores."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..condensed.condensed_set import CondensedSet
from ..data.pixels import check_units
from ..matching.config import CondenseConfig
from ..runtime.validation import whole_number
from .standardize import Standardization

__all__ = ["begin", "stored_like"]

Values = Sequence[float]


def stored_like(config: CondenseConfig, condensed: CondensedSet) -> CondenseConfig:
    """The config with mosaics, color and resolution of a set, since all images of a memory are decoded alike."""
    like = replace(config, formation=condensed.formation, color=condensed.color, enlarging=condensed.enlarging)
    same = config.condensed_shape(condensed.shape) == condensed.encoded_shape
    return like if same else replace(like, resolution=max(condensed.encoded_shape[1:]))


def begin(memory: Any, condensed: CondensedSet, task: int, mean: Values | None, std: Values | None) -> None:
    """Let an empty :class:`CondensedMemory`, with a config :func:`stored_like` it, hold a set's classes, each cut to
    its share.

    Raises:
        ValueError: if they do not fit, or as :func:`in_stream_values`.
    """
    if memory.kind.coded:
        raise ValueError(f"a memory of kind {memory.kind.name!r} holds files, a condensed set pixels")
    task, shape = whole_number("task", task, 0), memory.check_shapes([condensed.shape])
    sets = {(task, c): condensed.of_class(c) for c in condensed.classes.tolist()}
    memory.shares(sets, shape)
    sizes = memory.sizes({group: len(part) for group, part in sets.items()}, shape)
    stored = condensed.with_storage(memory.fitted(shape).storage)
    stored, space = in_stream_values(stored, mean, std)
    memory.groups = {group: stored.of_class(group[1]).prefix(size) for group, size in sizes.items()}
    memory.standardization, memory.updates = space, 1


def in_stream_values(
    condensed: CondensedSet, mean: Values | None, std: Values | None
) -> tuple[CondensedSet, Standardization]:
    """A set of whole numbers in the values of a stream, and the standardization between these and its own.

    Args:
        mean, std: of the stream's normalization, in units of [0, 1]; None for the set's own.

    Raises:
        ValueError: if the set does not say its own, so that others cannot be reached from there.
    """
    channels = condensed.shape[0]
    gain, shift, known = torch.ones(channels), torch.zeros(channels), dict[str, Any]()
    if mean is not None or std is not None:
        known = {"mean": _checked("mean", mean, channels), "std": _checked("std", std, channels)}
        check_units(known["mean"], known["std"])
        gain, shift = _between(condensed, torch.tensor(known["mean"]), torch.tensor(known["std"]))
    own = torch.stack([gain, shift]) if condensed.affine is None else _after(condensed.affine, gain, shift)
    space = Standardization(own[1].clone(), own[0].clone())
    meta = condensed.meta | known
    return space.undo_set(replace(condensed, affine=None, meta=meta)), space


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


def _between(condensed: CondensedSet, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """gain and shift (C,) from the set's own values to those normalized by mean and std."""
    if "mean" not in condensed.meta or "std" not in condensed.meta:
        raise ValueError(
            "the set does not say the mean and std that it was normalized by, so its images cannot be brought to a "
            "stream's values; leave mean and std out if these are the same"
        )
    own_mean, own_std = (torch.tensor(condensed.meta[name], dtype=torch.float32) for name in ("mean", "std"))
    return own_std / std, (own_mean - mean) / std


def _after(affine: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    return torch.stack([affine[0] * gain, affine[1] * gain + shift])
