"""Sphinx's configuration of the documentation site; `tools/docs_site.py` builds it."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Any

project = "mtlab"
version = release = installed_version("mtlab")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"mtlab {release}"
html_show_sourcelink = False
html_copy_source = False
html_permalinks = False
html_show_copyright = False
html_show_search_summary = False  # else the search fetches pages, which browsers refuse to pages read from the disk

myst_heading_anchors = 4  # `page.md#a-heading`, as code hosts have it
suppress_warnings = ["toc.not_included"]  # a page that another one links to; tests look after the rest

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_class_signature = "separated"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def keep_colons(_app: Any, what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Keep `#: True at real tokens; None: all are real` a sentence: Napoleon would read a type before the colon."""
    if what in ("attribute", "data"):
        lines[:] = [line.replace(": ", "\N{RATIO} ") for line in lines]


def setup(app: Any) -> None:
    """Go before Napoleon."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
