"""Settings as plain values and back: frozen dataclasses that a file can name, and nothing else."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

__all__ = ["FITTED", "Plain", "flat", "from_plain", "to_plain"]

FITTED = {"fitted": True}  # metadata of a field that is filled in from what comes, and no option
Self = TypeVar("Self", bound="Plain")


@dataclass(frozen=True)
class Plain:
    """Settings that are plain values or settings themselves; every subclass can be named in a file.

    A subclass of your own has to be imported before a file that names it is read.
    """

    named: ClassVar[dict[str, type["Plain"]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Plain.named[cls.__name__] = cls

    def __post_init__(self) -> None:
        """Make NumPy numbers plain ones, which can be compared, hashed and written as JSON."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):
                object.__setattr__(self, field.name, value.item())

    def but(self: Self, **changes: Any) -> Self:
        """The same with other values, of its own fields or of those of the settings in it.

        Raises:
            ValueError: for a name that none of them has.

        >>> from dm_replay import CondenseConfig
        >>> CondenseConfig().but(ipc=5, device="cpu").machine.device
        'cpu'
        """
        own = {field.name for field in fields(self)}
        inner = {field.name: value for field in fields(self) if isinstance(value := getattr(self, field.name), Plain)}
        found = {name: value for name, value in changes.items() if name in own}
        for where, settings in inner.items():
            settings = found.pop(where, settings)
            known = {field.name for field in fields(settings)}
            theirs = {name: value for name, value in changes.items() if name in known - own}
            found[where] = replace(settings, **theirs) if theirs else settings
        unknown = changes.keys() - own - {field.name for settings in found.values() for field in _fields(settings)}
        if unknown:
            raise ValueError(f"unknown setting {min(unknown)!r}; choose from {', '.join(sorted(flat(self)))}")
        return replace(self, **found)


def _fields(value: Any) -> tuple:
    return fields(value) if isinstance(value, Plain) else ()


def flat(settings: Plain) -> dict[str, Any]:
    """All values by name, those of settings inside beside the others.

    >>> from dm_replay import CondenseConfig
    >>> from dm_replay.runtime.plain import flat
    >>> flat(CondenseConfig())["tiles"]
    0
    """
    found: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        found |= flat(value) if isinstance(value, Plain) else {field.name: value}
    return found


def to_plain(value: Any) -> Any:
    """Settings as a dictionary that names their class."""
    if not isinstance(value, Plain):
        return value
    return {"is": type(value).__name__, **{f.name: to_plain(getattr(value, f.name)) for f in fields(value)}}


def from_plain(value: Any, expected: type[Any]) -> Any:
    """The settings of :func:`to_plain`.

    Raises:
        ValueError: if they are none of such a class, or their values are unfit.
    """
    found = _from_plain(value)
    if not isinstance(found, expected):
        raise ValueError(f"expected a {expected.__name__}, got {found!r:.60}")
    return found


def _from_plain(value: Any) -> Any:
    if not isinstance(value, dict):
        if not _is_plain(value):
            raise ValueError(f"a {type(value).__name__} among the settings")
        return value
    name = value.get("is")
    kind = Plain.named.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"{name!r:.60} is not known; a class of your own has to be imported before")
    names = {field.name for field in fields(kind)}
    if value.keys() - {"is"} != names:
        raise ValueError(f"expected the fields {', '.join(sorted(names))} of a {name}")
    return kind(**{key: _from_plain(part) for key, part in value.items() if key != "is"})


def _is_plain(value: Any) -> bool:
    single = value is None or isinstance(value, str | int | float)
    return single or (isinstance(value, tuple | list) and all(part is not value and _is_plain(part) for part in value))
