"""The shape of the package: imports run downwards, and what is heavy stays out until it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dm_replay

HOME = Path(dm_replay.__file__).parent
FLOORS = [
    {
        "capture",
        "distributed",
        "engine",
        "files",
        "functional",
        "interrupts",
        "journal",
        "mapped",
        "prefetch",
        "provenance",
        "seeding",
    },
    {"augment", "condensed", "folders", "networks", "pools", "readers"},
    {"draws", "joint_sgd", "teachers"},
    {"datasets", "matching", "pictures", "replay_loader", "run_folder", "training"},
    {"condensation", "evaluation", "experiences", "export"},
    {"flags", "memory", "runs"},
    {"buffer"},
    {"metrics", "plugin"},
    {"demo"},
    {"commands"},
    {"cli"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
AVALANCHE = {"buffer", "demo", "experiences", "metrics", "plugin"}


def modules():
    return sorted(path for path in HOME.rglob("*.py") if path != HOME / "__init__.py")


def room(path):
    """A file's module, or the package it lives in."""
    return path.relative_to(HOME).parts[0].removesuffix(".py")


def imports(path):
    """(level, module) of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(HOME)))
def test_imports_run_downwards(path):
    depth = len(path.relative_to(HOME).parts)
    for level, module in imports(path):
        target = module.split(".")[0]
        if level == depth and target not in ("", "__version__"):
            assert FLOOR[target] < FLOOR[room(path)], f"{room(path)} imports {target}, which is not below it"


def test_every_module_has_its_floor():
    assert {room(path) for path in modules()} == set(FLOOR)


def test_only_the_plugins_side_knows_avalanche():
    knows = {room(path) for path in modules() if any(m.split(".")[0] == "avalanche" for _, m in imports(path))}
    assert knows <= AVALANCHE


@pytest.mark.parametrize(
    "statement",
    ["import dm_replay", "from dm_replay import condense, evaluate, load", "import dm_replay.commands"],
)
def test_heavy_libraries_stay_out(statement):
    check = f"{statement}; import sys; print(*(m for m in ('avalanche', 'matplotlib', 'sklearn') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "\n"


def test_public_names_resolve():
    assert sorted(dm_replay.__all__) == dm_replay.__all__
    for name in dm_replay.__all__:
        assert getattr(dm_replay, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dm_replay.nothing  # noqa: B018
