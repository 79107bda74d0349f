"""Is a method better than a baseline? A paired bootstrap over regulators.

Pairs of one regulator are not independent: they share its ChIP experiment and its hub rate. So whole regulators are
drawn with replacement, the same ones for both methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .argument_types import typed_arguments
from .errors import ArgumentError
from .metrics import check_ranking
from .random import generator_of

if TYPE_CHECKING:
    from .random import RNGLike

__all__ = ["paired_bootstrap", "resampled_metrics", "weighted_ranking"]

BLOCK_VALUES = 2**21
"""Counts held at a time: 16 MiB as float64, and a few arrays of that size beside it."""


@typed_arguments
def paired_bootstrap(
    y_true: Any,
    y_score: Any,
    y_baseline: Any,
    *,
    regulators: Any,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    rng: RNGLike = 0,
) -> pd.DataFrame:
    """Difference to a baseline on the same pairs, with a percentile interval over resampled regulators.

    Parameters
    ----------
    y_true, y_score, y_baseline
        ``(P,)`` labels, and the scores of the method and of the baseline.
    regulators
        ``(P,)``, the regulator of each pair.
    n_resamples
        How often as many regulators as there are are drawn with replacement.
    confidence
        Share of the resampled differences inside the interval.
    rng
        Seed.

    Returns
    -------
    A DataFrame of floats with the rows ``auroc``, ``auprc`` (over all drawn pairs), ``tf_auroc`` and ``tf_auprc_ratio``
    (mean over the drawn regulators that have both classes). Columns: ``score`` and ``baseline`` on all pairs, not
    resampled, and the ``difference`` of the two; ``mean``, ``low`` and ``high`` of the resampled differences, the last
    two the percentile interval. Resamples with one class only are left out; NaN if none is left.

    Raises
    ------
    ArgumentError
        See :func:`~scgrn_tl.bm.check_ranking`; also for fewer than 2 regulators or no resamples.
    """
    labels, scores, codes = check_ranking(y_true, y_score, regulators)
    _, baseline, _ = check_ranking(y_true, y_baseline, regulators)
    n_regulators = int(codes.max(initial=-1)) + 1
    if n_regulators < 2 or n_resamples < 1 or not 0 < confidence < 1:
        msg = (
            "A bootstrap over regulators needs at least 2 of them, n_resamples (or n_bootstrap) of at least 1 and a "
            f"confidence between 0 and 1; got {n_regulators}, {n_resamples} and {confidence}."
        )
        raise ArgumentError(msg)
    drawn = generator_of(rng).multinomial(n_regulators, np.full(n_regulators, 1 / n_regulators), n_resamples)
    # Row 0 draws every regulator once: the value on the pairs as they are.
    times = np.vstack([np.ones((1, n_regulators), dtype=drawn.dtype), drawn])  # (1 + resamples, R)
    of_method, of_baseline = (resampled_metrics(labels, values, codes, times) for values in (scores, baseline))
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    rows = {}
    for metric in of_method:
        difference = of_method[metric] - of_baseline[metric]
        usable = difference[1:][np.isfinite(difference[1:])]
        mean, (low, high) = (usable.mean(), np.percentile(usable, tails)) if len(usable) else (np.nan, (np.nan,) * 2)
        rows[metric] = {
            "score": of_method[metric][0],
            "baseline": of_baseline[metric][0],
            "difference": difference[0],
            "mean": mean,
            "low": low,
            "high": high,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("metric")


def resampled_metrics(
    labels: np.ndarray, scores: np.ndarray, codes: np.ndarray, times: np.ndarray
) -> dict[str, np.ndarray]:
    """``auroc``, ``auprc``, ``tf_auroc`` and ``tf_auprc_ratio`` with every regulator counted so many times.

    Parameters
    ----------
    labels, scores
        ``bool (P,)`` and ``float64 (P,)``.
    codes
        ``int64 (P,)``, the regulator of each pair, counted from 0.
    times
        ``(B, R)``, how often each regulator's pairs count.

    Returns
    -------
    ``float64 (B,)`` each; NaN where what is counted has one class only.
    """
    n_resamples, n_regulators = times.shape
    # The last rows count one regulator each: its own metrics.
    auroc, auprc = weighted_ranking(labels, scores, codes, np.vstack([times, np.eye(n_regulators)]))
    prevalence = np.bincount(codes, labels, n_regulators) / np.maximum(np.bincount(codes, minlength=n_regulators), 1)
    both = np.isfinite(auroc[n_resamples:])  # regulators with both classes
    counts = times[:, both].astype(np.float64)
    total = counts.sum(axis=1)
    total[total == 0] = np.nan
    return {
        "auroc": auroc[:n_resamples],
        "auprc": auprc[:n_resamples],
        "tf_auroc": counts @ auroc[n_resamples:][both] / total,
        "tf_auprc_ratio": counts @ (auprc[n_resamples:][both] / prevalence[both]) / total,
    }


def weighted_ranking(
    labels: np.ndarray, scores: np.ndarray, codes: np.ndarray, times: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and average precision under many weightings of the same ranking, sorted only once.

    Equal to scikit-learn's ``roc_auc_score`` and ``average_precision_score`` with
    ``sample_weight=times[b][codes]`` for each b, which would sort B times.

    Parameters
    ----------
    labels, scores, codes
        ``(P,)`` labels, scores and group of each pair.
    times
        ``(B, R)``, weight of each group.

    Returns
    -------
    AUROC and average precision, ``float64 (B,)`` each; NaN where a class has no weight.
    """
    times = times.astype(np.float64)
    n_groups = times.shape[1]
    order = np.argsort(-scores, kind="stable")
    labels, codes = labels[order], codes[order]
    starts = np.r_[0, np.flatnonzero(np.diff(scores[order]) != 0) + 1, len(labels)]  # of every run of equal scores
    seen, seen_positives = np.zeros(n_groups), np.zeros(n_groups)  # pairs of each group ranked so far
    above = np.zeros((n_groups, n_groups))  # [r, s]: how often a positive of s ranks above a negative of r
    precision_sum = np.zeros(len(times))
    step = max(1, BLOCK_VALUES // max(times.shape))
    for first in range(0, len(starts) - 1, step):
        edges = starts[first : first + step + 1]
        pairs = slice(edges[0], edges[-1])
        run = np.repeat(np.arange(len(edges) - 1), np.diff(edges))  # of each pair
        place, area = run * n_groups + codes[pairs], (len(edges) - 1) * n_groups
        counts = np.bincount(place, minlength=area).reshape(-1, n_groups)  # (runs, R)
        positives = np.bincount(place[labels[pairs]], minlength=area).reshape(-1, n_groups)
        ranked, ranked_positives = seen + counts.cumsum(axis=0), seen_positives + positives.cumsum(axis=0)
        # A run of ties is a straight line of the ROC curve: half of its own positives rank above its negatives.
        above += (counts - positives).T.astype(np.float64) @ (ranked_positives - positives / 2)
        gaining = positives.any(axis=1)
        selected = times @ ranked[gaining].T  # (B, runs with positives)
        true_positives = times @ ranked_positives[gaining].T
        precision = np.divide(true_positives, selected, out=true_positives, where=selected > 0)
        precision_sum += np.einsum("bt,bt->b", precision, times @ positives[gaining].T.astype(np.float64))
        seen, seen_positives = ranked[-1], ranked_positives[-1]
    n_positives, n_negatives = times @ seen_positives, times @ (seen - seen_positives)
    both = (n_positives > 0) & (n_negatives > 0)
    auroc, auprc = np.full(len(times), np.nan), np.full(len(times), np.nan)
    np.divide(
        np.einsum("br,rs,bs->b", times, above, times, optimize=True), n_positives * n_negatives, out=auroc, where=both
    )
    np.divide(precision_sum, n_positives, out=auprc, where=both)
    return auroc, auprc
