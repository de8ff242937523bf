"""Settings: dataclasses of plain values that a file can name, the checks that they share, and the machine's."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from .engine import COMPILE, PRECISIONS, Activations, Engine, choose

__all__ = [
    "FITTED",
    "Machine",
    "Plain",
    "check_choices",
    "check_whole_numbers",
    "flat",
    "fraction",
    "from_plain",
    "to_plain",
    "whole_number",
]

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
            ValueError: for a name that none of them has, or a plain value in place of settings.

        >>> from dm_replay import CondenseConfig
        >>> CondenseConfig().but(ipc=5, device="cpu").machine.device
        'cpu'
        """
        own = {field.name for field in fields(self)}
        found = {name: value for name, value in changes.items() if name in own}
        unknown = changes.keys() - own
        for name in own:
            kept = getattr(self, name)
            settings = found.get(name, kept)
            if isinstance(kept, Plain) and not isinstance(settings, Plain):
                raise ValueError(f"expected settings as {name}, such as a {type(kept).__name__}, got {settings!r:.60}")
            theirs = {field.name for field in fields(settings)} - own if isinstance(settings, Plain) else set()
            if theirs & changes.keys():
                found[name] = replace(settings, **{name: changes[name] for name in theirs & changes.keys()})
            unknown -= theirs
        if unknown:
            raise ValueError(f"unknown setting {min(unknown)!r}; choose from {', '.join(sorted(flat(self)))}")
        return replace(self, **found)


def flat(settings: Plain) -> dict[str, Any]:
    """All values by name, those of settings inside beside the others.

    >>> from dm_replay import CondenseConfig

    >>> from dm_replay.runtime.settings import flat
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


def check_choices(config: object, **choices: Sequence[str]) -> None:
    """ValueError if a field of a configuration is none of its choices."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"unknown {name} {getattr(config, name)!r}; choose from {', '.join(known)}")


def check_whole_numbers(config: object, **least: int) -> None:
    """ValueError if a field of a configuration is no whole number, or below the least that it may be."""
    for name, low in least.items():
        whole_number(name, getattr(config, name), low)


def whole_number(name: str, value: Any, least: int | None = None) -> int:
    """``value`` as an int, NumPy's integers too; ValueError for anything else or less than ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        bound = "" if least is None else f" of at least {least}"
        raise ValueError(f"{name} must be a whole number{bound}, got {value!r}")
    return number


def fraction(name: str, value: Any) -> float:
    """``value`` as a float from 0 to 1; ValueError for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1, got {value!r}")
    return number


@dataclass(frozen=True)
class Machine(Plain):
    """A device and what it may do.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: of work without a gradient, and of matrix products in training: "bfloat16", "float32" (the reference)
            or "auto". On a GPU float32 convolutions use TF32 where PyTorch is set to, as it is by default.
        compile: "yes", "no", or "auto" for where it earns back its half minute.
        memory_budget: GiB of device memory for the activations of the gradient-free work, and likewise, at another
            time, of the work with a gradient. It bounds the images at a time; networks with BatchNorm need all at once.

    Raises:
        ValueError: for a value that is out of its range or none of its choices.

    >>> from dm_replay import EvalConfig, Machine
    >>> EvalConfig(machine=Machine("cpu", compile="no")).machine.precision
    'auto'
    """

    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    memory_budget: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, precision=PRECISIONS, compile=COMPILE)
        if not 0 < self.memory_budget < 2**40:
            raise ValueError(
                f"memory_budget must be above 0 GiB, got {self.memory_budget}, and what a machine can have"
            )

    def engine(self, image_size: tuple[int, int], images: int, activations: Activations) -> Engine:
        """The engine for a job that embeds so many images (H, W) in all, see :func:`choose`."""
        return choose(self.device, self.precision, self.compile, image_size, images, self.memory_budget, activations)
