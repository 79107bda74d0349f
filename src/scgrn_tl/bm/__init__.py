"""Benchmarks: splits, metrics, many methods on many datasets, and what to make of the results."""

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

from ._ablate import ablate
from ._report import report
from ._results_folder import read_results
from ._run import run
from ._summary import summary

__all__ = [
    "ablate",
    "check_ranking",
    "edge_metrics",
    "evaluate",
    "expected_calibration_error",
    "paired_bootstrap",
    "per_regulator_metrics",
    "precision_at_k",
    "read_results",
    "report",
    "run",
    "split_edges",
    "summary",
]
