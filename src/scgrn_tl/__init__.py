"""Gene regulatory networks from single-cell RNA-seq with scTransNet.

>>> import scgrn_tl as sg
>>> sg.tl.fit_grn(adata, prior)  # doctest: +SKIP

Every namespace below is imported on first use, so that ``import scgrn_tl`` costs neither torch, PyTorch Geometric,
scvi-tools nor matplotlib.
"""

import logging
from importlib.metadata import PackageNotFoundError, version

import lazy_loader as _lazy

from ._settings import settings
from .core.errors import ScgrnError

try:
    __version__ = version("scgrn_tl")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

# __init__.pyi lists what there is, for type checkers and for this line
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__all__ += ["__version__"]

logging.getLogger(__name__).addHandler(logging.NullHandler())
