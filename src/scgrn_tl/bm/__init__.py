"""Benchmarks: splits, metrics and comparisons."""

from .bootstrap import paired_bootstrap
from .metrics import (
    check_ranking,
    edge_metrics,
    evaluate,
    expected_calibration_error,
    per_regulator_metrics,
    precision_at_k,
)
from .splits import split_edges

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
