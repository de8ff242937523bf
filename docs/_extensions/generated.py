"""``{generated} WHAT [NAME]``: what the code knows better than a page, as Markdown while the pages are built."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import MISSING, fields
from importlib import import_module
from inspect import isclass
from pathlib import Path

from docutils import nodes
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective

import dm_replay
from dm_replay.cli.__main__ import main
from dm_replay.cli.words import documented
from dm_replay.matching.config import PRESETS, CondenseConfig
from dm_replay.replay.memory import DEFAULT, CondensedMemory
from dm_replay.runtime.settings import Plain, flat

__all__ = ["setup"]


def command(name: str) -> str:
    """What ``dm-replay NAME --help`` prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([name, "--help"] if name else ["--help"])
    return f"```text\n{said.getvalue().strip()}\n```"


def settings(path: str) -> str:
    """The fields of a dataclass, ``module.Class`` below ``dm_replay``: names, defaults and what its docstring says."""
    module, _, name = path.rpartition(".")
    config = getattr(import_module(f"dm_replay.{module}"), name)
    texts = documented(config)
    rows = [f"| `{field.name}` | {_default(field)} | {_cell(texts.get(field.name, ''))} |" for field in fields(config)]
    return "\n".join(["| setting | default | meaning |", "|---|---|---|", *rows])


def _default(field) -> str:
    if isinstance(field.default, Plain):
        return f"`{type(field.default).__name__}()`"
    return "" if field.default is MISSING else f"`{field.default!r}`"


def presets(_: str) -> str:
    """What each preset sets otherwise than another."""
    values = {name: flat(CondenseConfig.preset(name)) for name in PRESETS}
    differing = [name for name in values["fast"] if len({str(own[name]) for own in values.values()}) > 1]
    rows = [[f"`{name}`", *(f"`{own[name]!r}`" for own in values.values())] for name in differing]
    head = ["setting", *(f"`{name}`" for name in PRESETS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _cell(text: str) -> str:
    return (text[:1].upper() + text[1:]).replace("|", "\\|").replace("*", "\\*")


IMAGES = (
    ((1, 8, 8), 0),
    ((1, 28, 28), 0),
    ((3, 32, 32), 0),
    ((3, 64, 64), 0),
    ((3, 224, 224), 0),
    ((3, 224, 224), 224),
    ((1, 224, 224), 0),
    ((1, 224, 224), 112),
    ((1, 224, 224), 224),
)


def sizes(_: str) -> str:
    """What memories of 200 images and of 600,000 bytes hold, by the shape of the images and the resolution kept."""
    head = "| images | `mem_size=200` | condensed in `mem_bytes=600_000`, about | real ones, about | raw images |"
    return "\n".join([head, "|---|---|---|---|---|", *(_sizes(*image) for image in IMAGES)])


def _sizes(shape: tuple[int, int, int], resolution: int) -> str:
    config, kept = DEFAULT.but(resolution=resolution), f", `resolution={resolution}`" if resolution else ""
    memories = [CondensedMemory(200, config=config)]
    memories += [CondensedMemory(mem_bytes=600_000, config=config, kind=kind) for kind in ("condensed", "herding")]
    held = [f"{one.capacity(shape) * one.fitted(shape).images_per_stored:,}" for one in memories]
    raw = f"{600_000 // (shape[0] * shape[1] * shape[2]):,}"
    return f"| {' × '.join(map(str, shape))}{kept} | {' | '.join([*held, raw])} |"


def hosts(_: str) -> str:
    """The strategies and plugins that the tests try."""
    from hosts import table  # of tests/, which imports Avalanche

    return table()


def api(package: str) -> str:
    """The docstrings of the public names that live in a package."""
    public = {name: getattr(dm_replay, name) for name in dm_replay.__all__}
    own = {name: what for name, what in public.items() if what.__module__.split(".")[1] == package}
    return "\n\n".join(_documented(f"dm_replay.{name}", what) for name, what in own.items())


def _documented(name: str, what: object) -> str:
    if not callable(what):
        lines = [f".. py:data:: {name}", "", f"   ``{what!r}``"]
    else:
        lines = [f".. autoclass:: {name}", "   :members:"] if isclass(what) else [f".. autofunction:: {name}"]
    return "\n".join(["```{eval-rst}", *lines, "```"])


KINDS: dict[str, Callable[[str], str]] = {
    "command": command,
    "settings": settings,
    "presets": presets,
    "sizes": sizes,
    "hosts": hosts,
    "api": api,
}


class Generated(SphinxDirective):
    required_arguments, optional_arguments = 1, 1

    def run(self) -> list[nodes.Node]:
        for file in Path(dm_replay.__file__).parent.rglob("*.py"):
            self.env.note_dependency(str(file))
        return self.parse_text_to_nodes(KINDS[self.arguments[0]](*[*self.arguments[1:], ""][:1]))


def setup(app) -> dict:
    GoogleDocstring._parse_attribute_docstring = GoogleDocstring._consume_to_end  # "A: b" of a property is no type
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "env_version": 1}
