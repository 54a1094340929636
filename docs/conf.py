"""How `make docs` builds the site.

The source folder is the whole repository, not docs/: pages link to tables in benchmarks/results/ and to
CONTRIBUTING.md, and a link that works where the code is hosted works on the site. For the same reason the tree of pages
stands here: a page would show it as code there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import kdengine  # noqa: E402

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "kd"
author = "The kdengine authors"
copyright = author
release = version = kdengine.__version__

root_doc = "docs/index"
TREE = {
    "docs/index": (
        *("start", "tutorials/index", "concepts/index", "methods/README", "reference/index", "results/index"),
        *("../CONTRIBUTING", "../CHANGELOG"),
    ),
    "docs/tutorials/index": ("compare-methods", "phone-sized-net", "tune", "look-inside", "own-method"),
    "docs/concepts/index": (
        *("../compare", "../race", "../studies", "../inspect"),
        *("exact-resume", "cached-teacher-logits", "choosing-by-measuring"),
        "../speed",
    ),
    "docs/methods/README": sorted(path.stem for path in (ROOT / "docs/methods").glob("[a-z]*.md")),
    "docs/reference/index": ("catalog", "dashboard", "shell", "environment", "workspace", "guarantees", "api"),
    "docs/results/index": (
        *("speed", "../../benchmarks/README"),
        *sorted(f"../../benchmarks/results/{path.stem}" for path in (ROOT / "benchmarks/results").glob("*.md")),
    ),
    "benchmarks/results/speed_cpu": sorted(
        f"speed_cpu/{path.stem}" for path in (ROOT / "benchmarks/results/speed_cpu").glob("*.md")
    ),
    "CONTRIBUTING": ("docs/add-a-method", "SECURITY"),
}
include_patterns = [
    *("docs/**", "benchmarks/README.md", "benchmarks/results/**", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
]
exclude_patterns = [
    *(".*", "app", "build", "dist", "kd-workspace", "kdengine", "studies", "tests", "**/*.egg-info", "**/__pycache__"),
    *("docs/_build", "docs/_root"),
]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",  # formulas need no network
    "sphinxcontrib.mermaid",
]

myst_enable_extensions = ["dollarmath"]
myst_fence_as_directive = ["math", "mermaid"]  # as the common git host shows them
myst_heading_anchors = 3

# Links to the pages of Python and PyTorch need the network: asked for, so that a build without it has no warning.
if os.environ.get("KD_DOCS_INTERSPHINX") == "1":
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_use_ivar = True
python_use_unqualified_type_names = True

nitpicky = True
nitpick_ignore_regex = [
    # Of other projects; KD_DOCS_INTERSPHINX=1 links them.
    (r"py:.*", r"(torch|nn|np|pydantic|typing|collections|pathlib)\..*"),
    (r"py:.*", r"(Any|Callable|ClassVar|Iterable|Iterator|Literal|Mapping|Path|Protocol|Sequence|Self)"),
    (r"py:.*", r"(Tensor|BaseModel|FieldInfo)"),
    # Written without their module in docstrings; autodoc splits what stands in brackets; aliases and type variables.
    (r"py:exc", r"(BadInput|KdError)"),
    (r"py:class", r"(dict|tuple)\[\w+|Kind|Outputs|kdengine\.registry\.T"),
    # Not for use from outside: what a public name gives or takes, and nobody makes by hand.
    (r"py:class", r"kdengine\.(workspace|states|plugins|training)\..*"),
]

# Diagrams take the room that they need.
mermaid_height = "auto"
mermaid_fullscreen = False

html_theme = "pydata_sphinx_theme"
html_title = "kd"
html_extra_path = ["_root"]
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 1,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_prev_next": True,
    "header_links_before_dropdown": 8,
}
html_static_path = ["_static"]
html_css_files = ["site.css"]
highlight_language = "text"


def add_tree(app: Sphinx, docname: str, source: list[str]) -> None:
    """Appends to a page the pages below it."""
    if docname in TREE:
        source[0] += "\n\n```{toctree}\n:hidden:\n\n" + "\n".join(TREE[docname]) + "\n```\n"


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", add_tree)
