"""Configuration of the documentation: `make docs`."""

import os
import re
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

# Names of the examples are looked up also where they are not run (-D plot_gallery=0).
from sklearn.experimental import enable_iterative_imputer  # noqa: F401

sys.path.insert(0, os.path.dirname(__file__))
# The gallery and the doctests of the pages run without a display, one thread each.
os.environ.setdefault("MPLBACKEND", "Agg")

project = "skelbo"
author = "The skelbo developers"
copyright = "2026, the skelbo developers"
release = version = installed_version("skelbo")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "fieldlist"]
myst_heading_anchors = 4

autosummary_generate = True
numpydoc_show_class_members = False

# What is public by import from a package stands under that name.
add_module_names = False
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"(^|/)(road|vae_torchrun)\.py$",
    "doc_module": ("skelbo",),
    "backreferences_dir": "api/backreferences",
    "reference_url": {"skelbo": None},
    "inspect_global_variables": True,
    "remove_config_comments": True,
    "reset_modules": ("matplotlib", "gallery_file.define_file"),
    "capture_repr": (),
    "show_memory": False,
    "show_signature": False,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "matplotlib_animations": False,
    "min_reported_time": 5,
}

html_theme = "pydata_sphinx_theme"
html_title = "skelbo"
html_static_path = ["_static"]
html_css_files = ["skelbo.css"]
html_show_sourcelink = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Pages without neighbours need no navigation beside them.
html_sidebars = {"install": [], "first_minute": [], "changelog": [], "benchmarks": []}


def setup(app):
    """Connect the functions below, and remove pages of examples that are there no more."""
    for page in Path(app.srcdir, "auto_examples").glob("plot_*.rst"):
        if not Path(app.srcdir, "..", "examples", f"{page.stem}.py").exists():
            page.unlink()
    app.connect("source-read", _link_benchmarks)
    app.connect("autodoc-process-docstring", _tidy_docstring, priority=100)


def _link_benchmarks(app, docname, source):
    """Let links to the tables of benchmarks lead to their pages here."""
    source[0] = source[0].replace("](../benchmarks/", "](benchmarks/")


def _tidy_docstring(app, what, name, obj, options, lines):
    """Join the lines of a type that ends in a backslash, which stays in a raw docstring."""
    text = "\n".join(lines)
    if (getattr(obj, "__module__", None) or "").startswith("sklearn"):
        # What is inherited refers to labels of scikit-learn's own pages.
        text = re.sub(r":(?:ref|term):`([^`<]*?)\s*(?:<[^>]*>)?`", r"\1", text)
    lines[:] = re.sub(r"\\\n\s*", "", text).split("\n")
