"""The documentation: Markdown by MyST, docstrings by autodoc, tables made while it is built."""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_extensions"), str(DOCS.parent / "tests")]

import dm_replay  # noqa: E402

project, author, copyright = "dm_replay", "the dm_replay authors", "the dm_replay authors"
release = version = dm_replay.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"dm_replay {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_links_external_new_tab = True

autodoc_typehints = "none"  # the signature has names and defaults, the text says the rest
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
