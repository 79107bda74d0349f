"""Plots of what ``sg.tl`` and ``sg.bm`` stored. They return the matplotlib Axes."""

from ._ablation import ablation
from ._benchmark import benchmark
from ._calibration import calibration
from ._differential_grn import differential_grn
from ._edge_evidence import edge_evidence
from ._edge_explanation import edge_explanation
from ._grn_edges import grn_edges
from ._roc_pr import roc_pr
from ._training_history import training_history

__all__ = [
    "ablation",
    "benchmark",
    "calibration",
    "differential_grn",
    "edge_evidence",
    "edge_explanation",
    "grn_edges",
    "roc_pr",
    "training_history",
]
