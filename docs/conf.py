"""Configuration of the documentation (https://www.sphinx-doc.org/en/master/usage/configuration.html)."""

from __future__ import annotations

import os
import shutil
import warnings
from importlib.metadata import metadata
from pathlib import Path

HERE = Path(__file__).parent

# Tutorials stand at the top of the repository, where users look for them; Sphinx reads only what is below this folder.
shutil.rmtree(HERE / "tutorials", ignore_errors=True)
NO_PAGES = shutil.ignore_patterns(".*", "*.py", "*.h5ad", "README.md")
shutil.copytree(HERE.parent / "tutorials", HERE / "tutorials", ignore=NO_PAGES)

# said once per signature, by an extension about itself
warnings.filterwarnings("ignore", message=".*_RstSnippetParser.set_application' is deprecated")

info = metadata("scgrn_tl")
project = "scgrn_tl"
author = "scgrn_tl developers"
copyright = f"2026, {author}"
release = version = info["Version"]
repository_url = dict(url.split(", ") for url in info.get_all("Project-URL"))["Source"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx_autodoc_typehints",  # has to come after napoleon
    "sphinx_copybutton",
    "scanpydoc.elegant_typehints",
    "scanpydoc.definition_list_typed_field",
]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
napoleon_google_docstring = False
napoleon_use_rtype = True
napoleon_use_param = True
napoleon_custom_sections = [("Warns", "Raises")]
typehints_defaults = "braces"
always_use_bars_union = True
default_role = "literal"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are stored with their results
nb_merge_streams = True

exclude_patterns = ["_build", "**.ipynb_checkpoints"]
templates_path = ["_templates"]
suppress_warnings = [
    "myst.xref_missing",  # README, CHANGELOG and CONTRIBUTING link to files as they stand in the repository
    "sphinx_autodoc_typehints.forward_reference",
    "sphinx_autodoc_typehints.guarded_import",
]

# Without a network, the other projects' pages cannot be linked to: SPHINX_OFFLINE=1 leaves their names as text.
OFFLINE = bool(os.environ.get("SPHINX_OFFLINE"))
nitpicky = not OFFLINE
intersphinx_mapping = (
    {}
    if OFFLINE
    else {
        "decoupler": ("https://decoupler.readthedocs.io/en/latest/", None),
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "matplotlib": ("https://matplotlib.org/stable/", None),
        "mudata": ("https://mudata.readthedocs.io/stable/", None),
        "networkx": ("https://networkx.org/documentation/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scipy": ("https://docs.scipy.org/doc/scipy/", None),
        "sklearn": ("https://scikit-learn.org/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
        "torch_geometric": ("https://pytorch-geometric.readthedocs.io/en/stable/", None),
    }
)
qualname_overrides = {
    "anndata._core.anndata.AnnData": "anndata.AnnData",
    "mudata._core.mudata.MuData": "mudata.MuData",
    "networkx.classes.digraph.DiGraph": "networkx.DiGraph",
    "numpy.random._generator.Generator": "numpy.random.Generator",
    "scipy.sparse._csr.csr_matrix": "scipy.sparse.csr_matrix",
    "torch._C.Generator": "torch.Generator",
    "torch.nn.modules.module.Module": "torch.nn.Module",
}

nitpick_ignore = [
    # short names in a first line are right on the object's own page, but not in the tables of the API pages
    ("py:class", "DuplicateGenesError"),
    ("py:class", "ScBERT"),
    ("py:meth", "ScBERT.encode"),
    ("py:meth", "ScBERT.save"),
    # a NamedTuple that no one makes by hand
    ("py:class", "scgrn_tl.models.link_scorer.LinkLogits"),
    # known to type checkers only
    ("py:class", "Tensor"),
    # has no documentation to link to
    ("py:class", "performer_pytorch.performer_pytorch.FastAttention"),
]

html_theme = "sphinx_book_theme"
html_title = "scgrn_tl"
html_static_path = ["_css"]
html_css_files = ["narrow.css"]
html_theme_options = {
    "repository_url": repository_url,
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_issues_button": True,
    "navigation_with_keys": False,
    "navbar_persistent": [],  # the sidebar has the search field already
}


def skip_tuple_fields(_app, _what, _name, obj, skip, _options):
    """The fields of a NamedTuple are explained in its docstring; autodoc would add "Alias for field number 0"."""
    return True if type(obj).__name__ == "_tuplegetter" else skip


def setup(app):
    app.connect("autodoc-skip-member", skip_tuple_fields)
