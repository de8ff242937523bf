"""A memory's state as tensors and plain values in a file, and back: no code is run, what is damaged is refused."""

from collections.abc import Callable
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Any

from ..condensed.checks import are_floats, check_fields, described
from ..condensed.coded_file import coded_fields, coded_of
from ..condensed.coded_set import CodedSet
from ..condensed.condensed_set import CondensedSet
from ..condensed.reading import FIELDS
from ..matching.config import CondenseConfig
from ..runtime.files import load_sealed, save_sealed
from ..runtime.validation import whole_number
from .kinds import Kind
from .standardize import AnySet, Standardization
from .waiting import Waiting

__all__ = ["read_memory", "write_memory"]

FORMAT = "dm_replay.CondensedMemory/1"
Group = tuple[int, int]


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
        kind, arguments = state["kind"], ("mem_size", "mem_bytes", "ipc", "config", "seed")
        about = dict(kind=kind.name, real_fraction=kind.real_fraction)
        memory = make(**{name: state[name] for name in arguments}, **about)
        vars(memory).update(state)
        _check_held(memory)
    except ValueError as error:
        raise ValueError(f"{path} is a damaged memory: {error}") from error
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
            raise ValueError(f"its {name}: {(str(error).splitlines() or [type(error).__name__])[0]}") from error
    return state


def _check_held(memory: Any) -> None:
    """ValueError unless what a memory holds fits its sizes and settings."""
    if not memory.groups:
        return
    shape, space = memory.check_shapes([]), memory.standardization
    config = memory.fitted(shape)
    how = config.storage, config.decoder(shape[0]), config.condensed_shape(shape)
    for group, part in memory.groups.items():
        coded = isinstance(part, CodedSet)
        alike = coded or (part.storage, replace(part.decoder, size=None), part.encoded_shape) == how
        if coded != memory.kind.coded or not alike or len(part) > (memory.ipc or len(memory)):
            raise ValueError(f"the images of {group} are more, or stored otherwise, than its settings say")
    memory.shares([], shape)
    if len(memory) > memory.capacity(len(memory.groups), shape) or memory.nbytes > (memory.mem_bytes or memory.nbytes):
        raise ValueError(f"it holds {len(memory)} images of {memory.nbytes} bytes, more than its size")
    if space is None or len(space.mean) != shape[0] or memory.updates + memory.arrivals < 1:
        raise ValueError("it holds images, but lacks their standardization or an update")
    for group, waiting in memory.waiting.items():
        if group not in memory.groups or not waiting.fits(memory.groups[group]):
            raise ValueError(f"{waiting} are not among the images of {group}")


def _number(least: int | None = None) -> Callable[[Any], int]:
    return lambda value: whole_number("it", value, least)


def _number_or_none(value: Any) -> int | None:
    return None if value is None else whole_number("it", value, 1)


def _config(value: Any) -> CondenseConfig:
    if not isinstance(value, dict) or set(value) != {field.name for field in fields(CondenseConfig)}:
        raise ValueError(f"expected the fields of a CondenseConfig, got {described(value)}")
    return CondenseConfig(**value)


def _plain_groups(groups: dict[Group, AnySet]) -> list[tuple[int, int, dict[str, Any]]]:
    return [
        (
            task,
            label,
            coded_fields(part) if isinstance(part, CodedSet) else {name: getattr(part, name) for name in FIELDS},
        )
        for (task, label), part in groups.items()
    ]


def _groups(value: Any) -> dict[Group, AnySet]:
    """Of one kind of set each, of the class that the group has."""
    groups: dict[Group, AnySet] = {}
    for task, label, content in value:
        where = f"the set of task {task}, class {label}"
        if "codes" in content:
            part: AnySet = coded_of(content)
        else:
            check_fields(content, where)
            part = CondensedSet(**content)
            if part.scale is None:
                raise ValueError(f"{where} is stored as {part.storage}")
        if part.classes.tolist() != [label] or (task, label) in groups:
            raise ValueError(f"{where} has images of {part.classes.tolist()}, or comes twice")
        groups[whole_number("task", task, 0), label] = part
    if len({(type(part), part.shape) for part in groups.values()}) > 1:
        raise ValueError("sets of different kind or shape")
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
    "kind": (asdict, lambda value: Kind(**value)),
    "config": (asdict, _config),
    "groups": (_plain_groups, _groups),
    "waiting": (_plain_waiting, _waiting),
    "standardization": (_plain_standardization, _standardization),
}
