"""Command-line flags made from what they set: one source of names, defaults and help."""

import argparse
import inspect
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args, get_type_hints

from ..condensed.stored import STORAGES
from ..condensed.tiles import ENLARGING
from ..data.registry import Dataset, load_dataset
from ..matching.config import INITS, PRESETS, USUAL
from ..matching.losses import DISTANCES
from ..runtime.engine import COMPILE, PRECISIONS
from ..runtime.settings import FITTED, Plain
from .words import documented, number, path, true_or_false, whole_number

__all__ = ["Arguments", "Flags", "dataset_of", "make", "options_of"]

Config = TypeVar("Config", bound=Plain)

WIDTH, INDENT = 100, 30  # columns of the help at most, and of the options in it
CHOICES = {
    "compile": COMPILE,
    "distance": DISTANCES,
    "enlarging": ENLARGING,
    "init": INITS,
    "precision": PRECISIONS,
    "storage": ("auto", *STORAGES),
    "synthetic_precision": ("auto", "float32"),
}
KINDS: dict[type, tuple[Callable[[str], Any], str]] = {
    int: (whole_number, "N"),
    float: (number, "X"),
    bool: (true_or_false, "{true,false}"),
    str: (str, "TEXT"),
}
METAVARS = {"augment": "FAMILIES", "device": "DEVICE", "network": "NETWORK"}
MACHINE = ("device", "precision", "compile", "memory_budget", "parallel_networks")
MISSING, UNKNOWN = "the following arguments are required: ", "unrecognized arguments"


class Arguments(argparse.Namespace):
    """The values of the options, by name."""

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)


class Flags(argparse.ArgumentParser):
    """The options of one command; --batch-real and --batch_real both set ``batch_real``.

    What is wrong with them is a ValueError that names the choices.
    """

    def __init__(self, command: Callable, example: str = ""):
        self.hints: dict[str, Any] = {}  # what the options that set something are annotated with
        super().__init__(
            prog=f"dm-replay {command.__name__}",
            description=command.__doc__,
            epilog=f"example: {example}" if example else None,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )

    def add_set(self) -> None:
        text = "condensed.pt, a run's folder, or the official code's res_*.pt"
        self.add_argument("set", type=path, metavar="SET", help=text)

    def add_out(self, kind: str, help: str, default: str | None = None) -> None:
        """Where to write, called ``kind`` in the help; required unless there is a default."""
        text = _with_default(help, default)
        self.add_argument("--out", type=path, metavar=kind, required=default is None, default=default, help=text)

    def add_switches(self, **help: str) -> None:
        for name, text in help.items():
            self.add_argument(_option(name), action="store_true", help=text)

    def add_dataset(self, default: str | None) -> None:
        """--dataset, by default the set's own, and what else :func:`load_dataset` takes."""
        group, texts = self.add_argument_group("data"), documented(load_dataset)
        which = _with_default(texts["name"], default or "the one that the set is of")
        group.add_argument("--dataset", metavar="NAME", default=default, help=which)
        group.add_argument("--root", type=path, metavar="PATH", help=texts["root"])
        for name in _dataset_options()[1:]:
            _add(group, name, bool, False, texts.get(name))

    def add_function(self, function: Callable, *but: str, **help: str) -> list[str]:
        """The parameters of a function ``but`` some, with its docstring's words or those given; returns their names."""
        texts, types = {**documented(function), **help}, get_type_hints(function)
        taken = {p.name: p.default for p in inspect.signature(function).parameters.values() if p.name not in but}
        for name, default in taken.items():
            _add(self, name, types[name], default, texts.get(name))
            self.hints[name] = _kind(types[name])
        return list(taken)

    def add_config(self, title: str, config: Plain) -> None:
        """The fields of settings, and of those inside; those about the machine in a group of their own.

        Defaults are shown, not set: what is not given is the preset's.
        """
        groups = [self.add_argument_group(name) for name in (title, "machine")]
        if hasattr(config, "preset"):
            help = f"{documented(config.preset)['name']} (default: {USUAL})"
            metavar = "{" + ",".join(PRESETS) + "}"
            groups[0].add_argument("--preset", metavar=metavar, default=USUAL, help=help)
        for name, (settings, default) in options_of(config).items():
            hint, text = get_type_hints(type(settings))[name], documented(type(settings)).get(name)
            _add(groups[name in MACHINE], name, hint, None, text, default)
            self.hints[name] = hint

    def remember(self, settings: Mapping[str, Any], source: Path) -> None:
        """Take these values as defaults; ValueError if one is not of its option's type."""
        for action in (action for action in self._actions if action.dest in settings):
            value = settings[action.dest]
            if type(value) not in _types(self.hints.get(action.dest, type(action.default))):
                raise ValueError(f"{source} is damaged ({action.dest} is {value!r}); begin anew with --overwrite")
            action.default = value

    def parse_args(self, argv: Sequence[str]) -> Arguments:  # type: ignore[override]
        return super().parse_args([_dashed(word) for word in argv], Arguments())

    def format_help(self) -> str:
        needed = (_written(action) for action in self._actions if action.required)
        self.usage = " ".join(["%(prog)s", *needed, "[options]"])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        if message.startswith(MISSING):
            names = message.removeprefix(MISSING).split(", ")
            known_as = {"/".join(action.option_strings) or str(action.metavar): action for action in self._actions}
            missing = [action for name, action in known_as.items() if name in names]
            raise ValueError("add " + " and ".join(f"{_written(action)} ({action.help})" for action in missing))
        if message.startswith(UNKNOWN):
            options = (option for action in self._actions for option in action.option_strings)
            message += f"; choose from {', '.join(sorted(o for o in options if o.startswith('--')))}"
        raise ValueError(message)


def options_of(config: Plain) -> dict[str, tuple[Plain, Any]]:
    """The settings that each option belongs to, and its default."""
    found: dict[str, tuple[Plain, Any]] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Plain):
            found |= options_of(value)
        elif field.metadata != FITTED:
            found[field.name] = config, value
    return found


def make(config: Config, args: Arguments) -> Config:
    """The settings of these options, the preset's where they are not given."""
    given = {name: args[name] for name in options_of(config) if args[name] is not None}
    base: Any = config.preset(args["preset"]) if hasattr(config, "preset") else config
    return base.but(**given)


def dataset_of(args: Arguments) -> Dataset:
    return load_dataset(args.dataset, **{name: args[name] for name in _dataset_options()})


def _dataset_options() -> list[str]:
    return [name for name in inspect.signature(load_dataset).parameters if name != "name"]


def _add(
    group: argparse._ActionsContainer, name: str, hint: Any, default: Any, text: str | None, shown: Any = None
) -> None:
    """One option. What is off by default is switched on; else the value follows."""
    if default is False:
        group.add_argument(_option(name), action="store_true", help=text)
        return
    kind, metavar = KINDS[_kind(hint)]
    if name in CHOICES:  # shown only: what takes the value refuses others
        metavar = "{" + ",".join(CHOICES[name]) + "}"
    group.add_argument(
        _option(name),
        type=kind,
        metavar=METAVARS.get(name, metavar),
        default=default,
        help=_with_default(text or "", default if shown is None else shown),
    )


def _kind(hint: Any) -> type:
    """int of ``int | None``."""
    return next((part for part in get_args(hint) if part in KINDS), hint)


def _types(hint: Any) -> tuple[type, ...]:
    """What a value so annotated may be in a record; whole numbers will do for others."""
    types = get_args(hint) or (hint,)
    return (*types, int) if float in types else types


def _with_default(text: str, default: object) -> str:
    if default is None:
        return text
    written = f"{default:g}" if isinstance(default, float) else str(default).lower() if default is True else default
    return f"{text} (default: {written})".strip()


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _dashed(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return f"{name.replace('_', '-')}{equals}{value}"


def _written(action: argparse.Action) -> str:
    """An option with its value, as it is to be typed."""
    return " ".join([*action.option_strings, str(action.metavar)])


class _Formatter(argparse.HelpFormatter):
    """Of the terminal's width, but not wider than reads well; texts are taken as they stand."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=INDENT, width=min(WIDTH, shutil.get_terminal_size().columns) - 2)

    def _expand_help(self, action: argparse.Action) -> str:
        return action.help or ""
