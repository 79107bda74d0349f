"""How well scores rank labelled pairs: the metrics of the GRN literature, over plain arrays and over a split.

AUPRC is the average precision everywhere, never the trapezoid under the curve, which is wrong where scores tie
(Davis & Goadrich 2006). EPR is the early precision ratio of BEELINE (Pratapa et al. 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from .argument_types import typed_arguments
from .errors import ArgumentError
from .split import EdgeSplit, LabeledPairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .random import RNGLike
    from .task import GRNScores

__all__ = [
    "check_ranking",
    "edge_metrics",
    "evaluate",
    "expected_calibration_error",
    "per_regulator_metrics",
    "precision_at_k",
]

NAN = float("nan")
SCORES = "y_score (or y_baseline, or probability)"
"""What errors call the scores, whose name differs between the functions that check them in one place."""


@typed_arguments
def check_ranking(y_true: Any, y_score: Any, regulators: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and regulators of P pairs as arrays that can be ranked.

    Parameters
    ----------
    y_true
        ``(P,)``, labels: bool, or 0 and 1.
    y_score
        ``(P,)``, the higher the likelier.
    regulators
        ``(P,)``, anything that tells the pairs' regulators apart; one and the same for all if ``None``.

    Returns
    -------
    ``bool (P,)``, ``float64 (P,)`` and ``int64 (P,)``, the last counting 0…R−1.

    Raises
    ------
    ArgumentError
        If lengths differ, a label is neither 0 nor 1, or a score is NaN or infinite.
    """
    labels, scores = np.asarray(y_true), _numbers(SCORES, y_score)
    groups = np.zeros(labels.shape, dtype=np.int64) if regulators is None else np.asarray(regulators)
    if labels.ndim != 1 or scores.shape != labels.shape or groups.shape != labels.shape:
        msg = (
            f"y_true, {SCORES} and regulators hold one value a pair: got shapes {labels.shape}, {scores.shape} "
            f"and {groups.shape}."
        )
        raise ArgumentError(msg)
    if not np.isin(labels, (0, 1)).all():
        msg = f"Labels are 0 or 1 (or bool); got {np.unique(labels)[:5].tolist()}."
        raise ArgumentError(msg)
    bad = ~np.isfinite(scores)
    if bad.any():
        msg = (
            f"{int(bad.sum()):,} of {len(scores):,} scores are NaN or infinite, the first at pair {int(bad.argmax())}: "
            "they cannot be ranked. Give pairs that were not scored the lowest score."
        )
        raise ArgumentError(msg)
    return labels.astype(bool), scores, np.unique(groups, return_inverse=True)[1]


@typed_arguments
def precision_at_k(y_true: Any, y_score: Any, k: int | None = None) -> float:
    """Share of true edges among the k pairs of highest score.

    Where the k-th score is tied, the expected value over all orders of the tied pairs is taken.

    Parameters
    ----------
    y_true, y_score
        ``(P,)`` labels and scores.
    k
        How many pairs are looked at; the number of true edges if ``None`` (the early precision of BEELINE).

    Returns
    -------
    NaN if k is 0 or there are fewer than k pairs.

    Raises
    ------
    ArgumentError
        See :func:`check_ranking`; also if k is negative.
    """
    labels, scores, _ = check_ranking(y_true, y_score)
    k = int(labels.sum()) if k is None else k
    if k < 0:
        msg = f"k is a number of pairs, not {k}."
        raise ArgumentError(msg)
    if k == 0 or k > len(labels):
        return NAN
    kth = np.partition(scores, len(scores) - k)[len(scores) - k]
    above, tied = scores > kth, scores == kth
    share_taken = (k - above.sum()) / tied.sum()
    return float((labels[above].sum() + share_taken * labels[tied].sum()) / k)


@typed_arguments
def expected_calibration_error(y_true: Any, probability: Any, *, n_bins: int = 10) -> float:
    """Mean distance between predicted probability and observed frequency (Naeini et al. 2015).

    Parameters
    ----------
    y_true, probability
        ``(P,)`` labels and probabilities.
    n_bins
        Bins of equal width on [0, 1]; each holds its left edge, the last one its right edge too.

    Returns
    -------
    ``Σ_b n_b/P · |mean label − mean probability|`` over the bins; NaN without pairs.

    Raises
    ------
    ArgumentError
        See :func:`check_ranking`; also if a probability is not between 0 and 1, or ``n_bins`` below 1.
    """
    labels, probability, _ = check_ranking(y_true, probability)
    _check_probability(probability)
    if n_bins < 1:
        msg = f"n_bins is at least 1, not {n_bins}."
        raise ArgumentError(msg)
    if not len(labels):
        return NAN
    bins = np.minimum((probability * n_bins).astype(np.int64), n_bins - 1)
    # n_b · |mean label − mean probability| = |Σ label − Σ probability|, which needs no division by empty bins.
    gaps = np.bincount(bins, weights=labels - probability, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(labels))


@typed_arguments
def per_regulator_metrics(y_true: Any, y_score: Any, regulators: Any) -> pd.DataFrame:
    """AUROC and AUPRC of every regulator's own pairs.

    Parameters
    ----------
    y_true, y_score, regulators
        ``(P,)`` labels, scores, and the regulator of each pair.

    Returns
    -------
    One row for each regulator with at least one positive and one negative pair, indexed by ``regulator`` in ascending
    order, with ``n_pairs``, ``n_edges`` (int), ``auroc``, ``auprc`` and ``auprc_ratio`` (AUPRC ÷ the regulator's own
    prevalence).

    Raises
    ------
    ArgumentError
        See :func:`check_ranking`.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    if regulators is None:
        msg = "regulators tells whose each pair is; without it there is nothing to divide by: see `edge_metrics`."
        raise ArgumentError(msg)
    labels, scores, codes = check_ranking(y_true, y_score, regulators)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    kept, rows = [], []
    for pairs in np.split(order, starts[1:]) if len(order) else []:
        y, s = labels[pairs], scores[pairs]
        if y.all() or not y.any():
            continue
        auprc = average_precision_score(y, s)
        kept.append(pairs[0])
        rows.append((len(y), int(y.sum()), roc_auc_score(y, s), auprc, auprc / y.mean()))
    index = pd.Index(np.asarray(regulators)[kept], name="regulator")
    dtypes = {"n_pairs": int, "n_edges": int, "auroc": float, "auprc": float, "auprc_ratio": float}
    return pd.DataFrame(rows, columns=list(dtypes), index=index).astype(dtypes)


@typed_arguments
def edge_metrics(
    y_true: Any,
    y_score: Any,
    regulators: Any = None,
    *,
    probability: Any = None,
    top_k: Sequence[int] = (100,),
    n_bins: int = 10,
) -> dict[str, float]:
    """Every metric of a ranking of labelled pairs.

    Parameters
    ----------
    y_true, y_score
        ``(P,)`` labels and scores.
    regulators
        ``(P,)``, the regulator of each pair; per-TF metrics are NaN without it.
    probability
        ``(P,)``, calibrated probabilities; Brier score and calibration error are NaN without it.
    top_k
        The k of ``precision_at_<k>``.
    n_bins
        See :func:`expected_calibration_error`.

    Returns
    -------
    A dict of floats. With pairs of one class only, all that needs both is NaN.

    ``auroc``
        Area under the ROC curve.
    ``auprc``, ``auprc_ratio``
        Average precision, and that ÷ prevalence (1 at random).
    ``epr``
        Precision among the top k ÷ prevalence, k the number of true edges, ties averaged.
    ``tf_auroc``, ``tf_auprc_ratio``, ``n_tfs``
        Mean over regulators with a positive and a negative, and how many those are.
    ``precision_at_<k>``
        Share of edges among the first k; NaN with fewer than k pairs.
    ``brier``, ``ece``
        Mean squared error of the probabilities, and their calibration error.
    ``prevalence``, ``n_pairs``, ``n_edges``
        What AUPRC is at random, and the counts.

    Raises
    ------
    ArgumentError
        See :func:`check_ranking`; also for a probability outside [0, 1].
    """
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    labels, scores, _ = check_ranking(y_true, y_score, regulators)
    prevalence = float(labels.mean()) if len(labels) else NAN
    two_classes = 0 < labels.sum() < len(labels)
    auprc = float(average_precision_score(labels, scores)) if two_classes else NAN
    metrics = {
        "auroc": float(roc_auc_score(labels, scores)) if two_classes else NAN,
        "auprc": auprc,
        "auprc_ratio": auprc / prevalence if two_classes else NAN,
        "epr": precision_at_k(labels, scores) / prevalence if two_classes else NAN,
        "tf_auroc": NAN,
        "tf_auprc_ratio": NAN,
        "n_tfs": NAN,
    }
    if regulators is not None:
        by_regulator = per_regulator_metrics(labels, scores, regulators)
        metrics["tf_auroc"] = float(by_regulator["auroc"].mean())
        metrics["tf_auprc_ratio"] = float(by_regulator["auprc_ratio"].mean())
        metrics["n_tfs"] = float(len(by_regulator))
    metrics |= {f"precision_at_{k}": precision_at_k(labels, scores, k) for k in top_k}
    metrics |= {"brier": NAN, "ece": NAN}
    if probability is not None and len(labels):
        _, probability, _ = check_ranking(labels, probability)
        _check_probability(probability)
        metrics["brier"] = float(brier_score_loss(labels, probability))
        metrics["ece"] = expected_calibration_error(labels, probability, n_bins=n_bins)
    return metrics | {"prevalence": prevalence, "n_pairs": float(len(labels)), "n_edges": float(labels.sum())}


@typed_arguments
def evaluate(
    scores: GRNScores,
    split: EdgeSplit | LabeledPairs,
    *,
    part: Literal["train", "validation", "test"] = "test",
    probability: np.ndarray | None = None,
    baseline: GRNScores | None = None,
    top_k: Sequence[int] = (100,),
    n_bootstrap: int = 1000,
    rng: RNGLike = 0,
) -> pd.Series:
    """Metrics of a method's scores on one part of a split, with intervals against a baseline if one is given.

    Parameters
    ----------
    scores
        What the method returned.
    split
        The split, or labelled pairs as they are.
    part
        Which part of the split to judge on.
    probability
        ``(R, G)``, calibrated probabilities laid out as ``scores.matrix``.
    baseline
        Scores to compare with on the same pairs, usually those of ``sg.methods.get("hub_floor")``.
    top_k
        The k of ``precision_at_<k>``.
    n_bootstrap
        Resamples of the paired bootstrap over regulators; used only with a ``baseline``.
    rng
        Seed of the bootstrap.

    Returns
    -------
    A Series of floats, with all of :func:`edge_metrics` and, with a ``baseline``, for each ``m`` of ``auroc``,
    ``auprc``, ``tf_auroc`` and ``tf_auprc_ratio``: ``m_baseline``, ``m_difference`` (positive where ``scores`` are
    better), ``m_low`` and ``m_high`` (the 95 % interval of the difference).

    Raises
    ------
    ArgumentError
        If the part has no pairs, a pair's regulator was not scored, or a score is NaN or infinite.

    See Also
    --------
    scgrn_tl.bm.paired_bootstrap : the comparison alone.
    """
    from .bootstrap import paired_bootstrap

    if part not in ("train", "validation", "test"):
        msg = f"part is 'train', 'validation' or 'test', not {part!r}."
        raise ArgumentError(msg)
    labeled = getattr(split, part) if isinstance(split, EdgeSplit) else split
    if not len(labeled):
        msg = f"There are no pairs to judge on: the split's {part} part is empty."
        raise ArgumentError(msg)
    pairs, labels = labeled.pairs, labeled.labels
    at_pairs = scores.at(pairs)
    if probability is not None:
        if np.shape(probability) != scores.matrix.shape:
            msg = f"probability is laid out as the scores, {scores.matrix.shape}; got {np.shape(probability)}."
            raise ArgumentError(msg)
        probability = np.asarray(probability)[scores.rows_of(pairs[:, 0]), pairs[:, 1]]
    metrics = edge_metrics(labels, at_pairs, pairs[:, 0], probability=probability, top_k=top_k)
    if baseline is not None:
        compared = paired_bootstrap(
            labels, at_pairs, baseline.at(pairs), regulators=pairs[:, 0], n_resamples=n_bootstrap, rng=rng
        )
        for metric, row in compared[["baseline", "difference", "low", "high"]].iterrows():
            metrics |= {f"{metric}_{column}": float(value) for column, value in row.items()}
    return pd.Series(metrics, dtype=np.float64)


def _numbers(name: str, values: Any) -> np.ndarray:
    """``values`` as ``float64``."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{name} is an array of numbers: {error}. Give one number a pair."
        raise ArgumentError(msg) from error


def _check_probability(probability: np.ndarray) -> None:
    if len(probability) and not (probability.min() >= 0 and probability.max() <= 1):
        msg = (
            f"Probabilities lie between 0 and 1; got {probability.min():.3g} to {probability.max():.3g}. "
            "Logits become probabilities by `scipy.special.expit`, calibrated ones by `sg.tl.fit_grn`."
        )
        raise ArgumentError(msg)
