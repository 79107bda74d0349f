"""Tidy reads of what ``sg.tl`` stored."""

from ._edges import grn_df
from ._metrics import grn_metrics

__all__ = ["grn_df", "grn_metrics"]
