"""Benchmarks: splits, metrics and comparisons."""

from scgrn_tl.core.bootstrap import paired_bootstrap
from scgrn_tl.core.edge_splits import split_edges
from scgrn_tl.core.metrics import (
    check_ranking,
    edge_metrics,
    evaluate,
    expected_calibration_error,
    per_regulator_metrics,
    precision_at_k,
)

__all__ = [
    "check_ranking",
    "edge_metrics",
    "evaluate",
    "expected_calibration_error",
    "paired_bootstrap",
    "per_regulator_metrics",
    "precision_at_k",
    "split_edges",
]
