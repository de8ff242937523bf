"""Command-line flags made from what they set: one source of names, defaults and help."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import NoReturn, TypeVar

from jsonargparse import ArgumentParser, Namespace

from ..data.registry import Dataset, load_dataset
from ..data.registry import names as dataset_names

__all__ = ["Flags", "make"]

Config = TypeVar("Config")


class Flags(ArgumentParser):
    """The options of one command. What is wrong with them is a ValueError that names the choices."""

    def __init__(self, command: Callable):
        prog = f"dm-replay {command.__name__}"
        super().__init__(prog=prog, description=command.__doc__, exit_on_error=False, allow_abbrev=False)

    def add_switches(self, **help: str) -> None:
        for name, text in help.items():
            self.add_argument(f"--{name}", action="store_true", help=text)

    def add_dataset(self, default: str | None) -> None:
        self.add_argument("--dataset", default=default, help=f"one of {', '.join(dataset_names())}")
        self.add_argument("--root", type=Path, help="folder of its files; else DM_DATA of the environment")
        self.add_switches(
            download="fetch missing files, where torchvision can",
            repack="decode an image folder anew, whose cache is else used until a file changes",
        )

    def add_function(self, function: Callable, *but: str) -> list[str]:
        """The parameters of a function ``but`` some; returns their names."""
        return self.add_function_arguments(function, skip=set(but), as_group=False)

    def add_config(self, title: str, config: type) -> None:
        """The fields of a dataclass."""
        group = self.add_argument_group(f"{title} (auto: what is usual for the dataset or the device)")
        group.add_class_arguments(config, as_group=False)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            options = (option for action in self._actions for option in action.option_strings)
            message += f"; choose from {', '.join(sorted(o for o in options if o.startswith('--')))}"
        raise ValueError(message) from ex


def make(config: type[Config], args: Namespace) -> tuple[Dataset, Config]:
    """The dataset that the flags name, and the dataclass of their values."""
    return load_dataset(args.dataset, args.root, args.download, args.repack), config(
        **{field.name: args[field.name] for field in fields(config)}
    )
