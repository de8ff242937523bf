"""The examples of the docstrings run as they stand, every public name has one, and what raises says so."""

import ast
import doctest
import importlib
import inspect
import pkgutil

import pytest

import dm_replay

FINDER = doctest.DocTestFinder(exclude_empty=True)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = sorted(module.name for module in pkgutil.walk_packages(dm_replay.__path__, "dm_replay."))
PUBLIC = [name for name in dm_replay.__all__ if not name.isupper()]  # but constants
CONSTRUCTORS = ("__init__", "__post_init__")


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_run(name, tmp_path, monkeypatch):
    """Without the names of their module: whoever pastes one needs nothing else."""
    monkeypatch.chdir(tmp_path)
    report: list[str] = []
    for example in FINDER.find(importlib.import_module(name), globs={}):
        doctest.DocTestRunner(optionflags=OPTIONS).run(example, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name):
    assert any(example.examples for example in FINDER.find(getattr(dm_replay, name), name))


@pytest.mark.parametrize("name", PUBLIC)
def test_what_raises_says_so(name):
    """A ``raise`` in a public function or method is in its docstring, one in a constructor in the class's."""
    (tree,) = ast.parse(inspect.getsource(getattr(dm_replay, name))).body
    for node in tree.body if isinstance(tree, ast.ClassDef) else [tree]:
        constructs = getattr(node, "name", "") in CONSTRUCTORS
        if isinstance(node, ast.FunctionDef) and (constructs or not node.name.startswith("_")):
            raises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
            told = ast.get_docstring(tree if constructs else node) or ""
            assert not raises or "Raises:" in told, f"{name}.{node.name} does not say what it raises"
