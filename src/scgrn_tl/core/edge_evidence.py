"""What resampled log-odds of an edge say: how often it is called, and between which probabilities it lies."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import expit

from .errors import ArgumentError

__all__ = ["EdgeEvidence", "codetected_cells", "expected_edges", "summarize_resamples"]

BLOCK_VALUES = 2**22
"""Resampled log-odds sorted at a time."""


class EdgeEvidence(NamedTuple):
    """Of every pair, ``float32 (P,)`` each."""

    stability: np.ndarray
    """Share of the resamples that call the edge."""
    low: np.ndarray
    """Lower end of the interval of the probability."""
    high: np.ndarray
    """Its upper end."""


def expected_edges(probability: np.ndarray) -> int:
    """How many edges probabilities add up to, at least 1."""
    return max(1, round(float(np.sum(probability, dtype=np.float64))))


def summarize_resamples(log_odds: np.ndarray, *, n_called: int, confidence: float) -> EdgeEvidence:
    """Stability and percentile interval of every pair.

    A resample calls the ``n_called`` pairs of the highest log-odds, and those that tie with the last of them.

    Parameters
    ----------
    log_odds
        ``(K, P)``, of P pairs in K resamples.
    n_called
        How many pairs a resample calls.
    confidence
        Share of the resamples inside the interval, between quantiles that are interpolated linearly.

    Raises
    ------
    ArgumentError
        If there are fewer than two resamples, or a number is out of range.
    """
    n_resamples, n_pairs = log_odds.shape
    if n_resamples < 2 or not 1 <= n_called <= n_pairs or not 0 < confidence < 1:
        msg = (
            f"Evidence needs at least 2 resamples, a call of 1 to {n_pairs} pairs and a confidence between 0 and 1; "
            f"got {n_resamples}, {n_called} and {confidence}."
        )
        raise ArgumentError(msg)
    calls = np.zeros(n_pairs, dtype=np.int64)
    for resample in log_odds:
        calls += resample >= np.partition(resample, n_pairs - n_called)[n_pairs - n_called]
    low, high = np.empty((2, n_pairs), dtype=np.float32)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    step = max(1, BLOCK_VALUES // n_resamples)
    for start in range(0, n_pairs, step):
        pairs = slice(start, start + step)
        low[pairs], high[pairs] = expit(np.quantile(log_odds[:, pairs].astype(np.float64), tails, axis=0))
    return EdgeEvidence((calls / n_resamples).astype(np.float32), low, high)


def codetected_cells(expression: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """In how many cells both genes of each pair are found, ``int32 (P,)``.

    Parameters
    ----------
    expression
        ``(G, N)``, genes × cells, dense or sparse; a gene is found where it is above 0.
    rows, columns
        ``(P,)`` gene indices.
    """
    found = sparse.csr_array(expression > 0, dtype=np.int32)  # (G, N)
    regulators, at_row = np.unique(rows, return_inverse=True)
    counts = np.empty(len(rows), dtype=np.int32)
    order = np.argsort(at_row, kind="stable")
    places = np.split(order, np.cumsum(np.bincount(at_row))[:-1]) if len(rows) else []
    step = max(1, BLOCK_VALUES // max(1, found.shape[0]))
    for start in range(0, len(regulators), step):
        block = (found[regulators[start : start + step]] @ found.T).toarray()  # (block, G)
        for number, pairs in enumerate(places[start : start + step]):
            counts[pairs] = block[number, columns[pairs]]
    return counts
