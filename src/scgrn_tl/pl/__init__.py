"""Plots of what ``sg.tl`` and ``sg.bm`` stored. They return the matplotlib Axes."""

from ._grn_edges import grn_edges
from ._training_history import training_history

__all__ = ["grn_edges", "training_history"]
