"""The shape of the package: imports run downwards, and what is heavy stays out until it is needed."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dm_replay

HOME = Path(dm_replay.__file__).parent
LAYERS = [
    {"runtime"},
    {"augment", "data", "networks"},
    {"condensed"},
    {"coresets"},
    {"evaluation", "matching"},
    {"replay", "runs"},
    {"plugins"},
    {"cli"},
]
LAYER = {package: number for number, packages in enumerate(LAYERS, 1) for package in packages}
AVALANCHE = {"cli/streams.py", "plugins"}


def modules():
    return sorted(path for path in HOME.rglob("*.py") if path != HOME / "__init__.py")


def package(path):
    return path.relative_to(HOME).parts[0]


def imports(path):
    """(package, module) of every import in a file, those inside functions too; the package is None elsewhere."""
    own = package(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((None, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield None, node.module
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            for name in names:
                yield (own, name) if node.level == 1 else (name.partition(".")[0], name.partition(".")[2])


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(HOME)))
def test_imports_run_downwards(path):
    own = package(path)
    for other, _ in imports(path):
        if other not in (None, own, "__version__"):
            assert LAYER[other] < LAYER[own], f"{own} imports {other}, which is not below it"


def test_every_package_has_its_layer():
    assert {package(path) for path in modules()} == set(LAYER)


@pytest.mark.parametrize("name", sorted(LAYER))
def test_no_cycle_inside_a_package(name):
    graph = {
        path.stem: {module for other, module in imports(path) if other == name}
        for path in modules()
        if package(path) == name
    }
    assert graph and list(TopologicalSorter(graph).static_order())


def test_only_the_plugins_side_knows_avalanche():
    knows = [path for path in modules() if any(m.split(".")[0] == "avalanche" for o, m in imports(path) if o is None)]
    assert knows
    for path in knows:
        assert package(path) in AVALANCHE or str(path.relative_to(HOME)) in AVALANCHE


@pytest.mark.parametrize(
    "statement",
    ["import dm_replay", "from dm_replay import condense, evaluate, load_dataset", "import dm_replay.cli.commands"],
)
def test_heavy_libraries_stay_out(statement):
    check = f"{statement}; import sys; print(*(m for m in ('avalanche', 'matplotlib', 'sklearn') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout == "\n"


def test_public_names_resolve():
    assert sorted(dm_replay.__all__) == dm_replay.__all__
    for name in dm_replay.__all__:
        value = getattr(dm_replay, name)
        assert name.isupper() or value.__name__ == name  # a constant is named in capitals
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dm_replay.nothing  # noqa: B018
