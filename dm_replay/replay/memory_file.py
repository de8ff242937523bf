"""A memory from a file and to one, and from a condensed set: as plain data, without running code."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..condensed.checks import are_floats, described, one_line
from ..condensed.codec import Codec
from ..condensed.image_set import ImageSet
from ..condensed.set_file import fields_of, set_fields
from ..coresets.reducer import Reducer
from ..data.pixels import check_units
from ..matching.config import CondenseConfig
from ..runtime.files import load_sealed, save_sealed
from ..runtime.settings import from_plain, to_plain, whole_number
from .standardize import Standardization
from .waiting import Group, Waiting

__all__ = ["begin", "read_memory", "stored_like", "write_memory"]

Values = Sequence[float]


def stored_like(config: CondenseConfig, images: ImageSet) -> CondenseConfig:
    """The config with the codec of a set, since all images of a memory are decoded alike; its storage stays."""
    return replace(config, codec=images.codec.stored_as(config.codec.storage))


def begin(memory: Any, images: ImageSet, task: int, mean: Values | None, std: Values | None) -> None:
    """Let an empty :class:`CondensedMemory`, with a config :func:`stored_like` it, hold a set's classes, each cut to
    its share.

    Raises:
        ValueError: if they do not fit, or as :func:`in_stream_values`.
    """
    task, shape = whole_number("task", task, 0), memory.check_shapes([images.shape])
    groups = {(task, label): len(part) for label, part in images.by_class().items()}
    memory.shares(groups, shape)
    space, meta = in_stream_values(images, mean, std)
    codec = memory.fitted(shape)
    stored = replace(images.with_storage(codec.storage), affine=None, meta=meta)
    if stored.codec != codec:
        raise ValueError(f"the set's images are stored by {stored.codec}, those of the memory by {codec}")
    memory.settle({group: stored.of_class(group[1]) for group in groups}, space)
    memory.updates = 1


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


FORMAT = "dm_replay.CondensedMemory/1"


def write_memory(state: dict[str, Any], path: str | Path) -> None:
    """The attributes of a memory, with a checksum, whole or not at all.

    Raises:
        OSError: if the file cannot be written.
    """
    plain = {name: PARTS[name][0](value) for name, value in state.items()}
    save_sealed({"format": FORMAT, **plain}, path)


def read_memory(path: str | Path, make: Callable[..., Any]) -> Any:
    """The memory of whose attributes :func:`write_memory` made the file; ``make`` is its class.

    Raises:
        ValueError: if the file is missing, damaged or something else.
    """
    content = load_sealed(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is not a memory of CondensedMemory.save")
    try:
        state = _state(content)
        arguments = ("mem_size", "mem_bytes", "ipc", "config", "seed")
        memory = make(**{name: state[name] for name in arguments}, kind=state["reducer"])
        vars(memory).update(state)
        _check_held(memory)
    except Exception as error:  # whatever a crafted file makes of it
        raise ValueError(f"{path} is a damaged memory: {one_line(error)}") from error
    return memory


def _state(content: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a memory, each as it can have it by itself."""
    if set(content) != {"format", *PARTS}:
        raise ValueError(f"its entries are {', '.join(map(str, content))}")
    state = {}
    for name, (_, read) in PARTS.items():
        try:
            state[name] = read(content[name])
        except Exception as error:  # whatever a crafted file makes of it
            raise ValueError(f"its {name}: {one_line(error)}") from error
    return state


def _check_held(memory: Any) -> None:
    """ValueError unless what a memory holds fits its sizes and settings."""
    if not memory.held:
        return
    shape, space = memory.check_shapes([]), memory.standardization
    codec = memory.fitted(shape)
    for group, part in memory.held.items():
        if part.codec != codec or part.affine is not None or len(part) > (memory.ipc or len(memory)):
            raise ValueError(f"the images of {group} are more, or stored otherwise, than its settings say")
    memory.shares([], shape)
    if len(memory) > (memory.mem_size or len(memory)) or memory.nbytes > (memory.mem_bytes or memory.nbytes):
        raise ValueError(f"it holds {len(memory)} images of {memory.nbytes} bytes, more than its size")
    if space is None or len(space.mean) != shape[0] or memory.updates + memory.arrivals < 1:
        raise ValueError("it holds images, but lacks their standardization or an update")
    for group, waiting in memory.waiting.items():
        if group not in memory.held or not waiting.fits(memory.held[group]):
            raise ValueError(f"{waiting} are not among the images of {group}")


def _number(least: int | None = None) -> Callable[[Any], int]:
    return lambda value: whole_number("it", value, least)


def _number_or_none(value: Any) -> int | None:
    return None if value is None else whole_number("it", value, 1)


def _plain_groups(groups: dict[Group, ImageSet]) -> list[tuple[int, int, dict[str, Any]]]:
    return [(task, label, fields_of(part)) for (task, label), part in groups.items()]


def _groups(value: Any) -> dict[Group, ImageSet]:
    """Of one codec and shape, each of the class that the group has."""
    groups: dict[Group, ImageSet] = {}
    for task, label, content in value:
        part = ImageSet(**set_fields(content))
        if part.classes.tolist() != [label] or (task, label) in groups:
            raise ValueError(f"task {task}, class {label} has images of {part.classes.tolist()}, or comes twice")
        groups[whole_number("task", task, 0), label] = part
    if len({(part.codec, part.shape) for part in groups.values()}) > 1:
        raise ValueError("sets of different codec or shape")
    return groups


def _plain_waiting(waiting: dict[Group, Waiting]) -> list[tuple[int, ...]]:
    return [(*group, *astuple(images)) for group, images in waiting.items()]


def _waiting(value: Any) -> dict[Group, Waiting]:
    rows = [tuple(whole_number("what waits", number, 0) for number in row) for row in value]
    return {(task, label): Waiting(*numbers) for task, label, *numbers in rows}


def _plain_standardization(value: Standardization | None) -> dict[str, Any] | None:
    return None if value is None else {"mean": value.mean, "std": value.std}


def _standardization(value: Any) -> Standardization | None:
    if value is None:
        return None
    mean, std = value["mean"], value["std"]
    if (
        not are_floats(mean)
        or not are_floats(std)
        or mean.ndim != 1
        or mean.shape != std.shape
        or not bool((std > 0).all())
    ):
        raise ValueError(f"mean {described(mean)} and std {described(std)}")
    return Standardization(mean, std)


def _as_is(value: Any) -> Any:
    return value


PARTS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {  # of a memory: as plain data, and back
    "mem_size": (_as_is, _number_or_none),
    "mem_bytes": (_as_is, _number_or_none),
    "ipc": (_as_is, _number_or_none),
    "seed": (_as_is, _number()),
    "updates": (_as_is, _number(0)),
    "arrivals": (_as_is, _number(0)),
    "codec": (to_plain, lambda value: from_plain(value, Codec)),
    "config": (to_plain, lambda value: from_plain(value, CondenseConfig)),
    "reducer": (to_plain, lambda value: from_plain(value, Reducer)),
    "held": (_plain_groups, _groups),
    "waiting": (_plain_waiting, _waiting),
    "standardization": (_plain_standardization, _standardization),
}
