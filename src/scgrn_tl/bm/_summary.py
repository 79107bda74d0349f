"""``bm.summary``: means, intervals, and whether a method is ahead of the hub floor."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, MissingKeyError
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.bootstrap import resampled_metrics
from scgrn_tl.core.random import generator_of

from ._variants import BASELINE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scgrn_tl.core import RNGLike

__all__ = ["summary"]

RESAMPLED = ("auroc", "auprc", "tf_auroc", "tf_auprc_ratio")
"""Metrics that differences have an interval of."""

LEAST_FOLDS = 3
"""The t-interval of two values is so wide that it says nothing."""

_AT_MOST_ONE = frozenset({"auroc", "auprc", "tf_auroc", "brier", "ece", "prevalence"})
_NOT_NEGATIVE = frozenset(
    {"auprc_ratio", "epr", "tf_auprc_ratio", "fit_seconds", "cpu_seconds", "prepare_seconds", "embed_seconds"}
    | {"peak_memory_mb"}
)
"""Metrics that lie between 0 and 1, as those called ``precision_at_…`` do, and those with no upper limit."""

_NEEDED = ("dataset", "method", "role", "split", "fold", "seed", "error", "predictions")
_COLUMNS = (
    "dataset", "split", "method", "role", "metric", "mean", "low", "high", "n_folds", "n_seeds", "n_failed", "baseline",
    "difference", "difference_low", "difference_high", "fit_seconds", "prepare_seconds", "embed_seconds",
    "shared_seconds", "peak_memory_mb",
)  # fmt: skip
_OF_RUNS = ("fit_seconds", "peak_memory_mb")
_SHARED = ("prepare_seconds", "embed_seconds")
"""Columns that older tables may lack."""
_SETTINGS = ("params", "data", "weights")
"""Columns that have one value for all runs of a method on a dataset."""


@typed_arguments
def summary(
    table: pd.DataFrame,
    metrics: str | Sequence[str] = ("auroc", "auprc", "tf_auroc"),
    *,
    baseline: str = BASELINE,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    rng: RNGLike = 0,
) -> pd.DataFrame:
    """Mean of each method on each dataset and kind of split, and its paired difference from the hub floor.

    Parameters
    ----------
    table
        As :func:`run` returns it.
    metrics
        Columns of ``table``.
    baseline
        Label of the method that all are held against.
    confidence
        Of the intervals.
    n_resamples
        Draws of regulators for the interval of a difference; 0 for none.
    rng
        Seed of the draws.

    Returns
    -------
    One row for each dataset, kind of split, method and metric.

    ``mean``, ``low``, ``high``
        Mean over folds, after averaging seeds within each, and its t-interval; NaN with fewer than three folds. A
        t-interval knows of no limits: it is cut at 0, and at 1 for metrics that go no further.
    ``n_folds``, ``n_seeds``, ``n_failed``
        What it is of: folds with a value of this metric, most seeds within one, and runs that ended with an error.
    ``baseline``, ``difference``
        Mean of the baseline, and of the paired difference from it on the same folds.
    ``difference_low``, ``difference_high``
        Interval of that difference: regulators are drawn with replacement, the same ones for both methods and all
        folds (a paired bootstrap). Of ``auroc``, ``auprc``, ``tf_auroc`` and ``tf_auprc_ratio``; NaN for others.
    ``role``, ``fit_seconds``, ``peak_memory_mb``
        Of the method: mean time of a fit, and the maximum over its runs.
    ``prepare_seconds``, ``embed_seconds``, ``shared_seconds``
        Mean time of what several fits share: what the method prepares, the gene embedding, and the sum of both. The
        first two if they are columns of ``table``; the sum is NaN if neither is.

    Raises
    ------
    ArgumentError
        If a metric is no column of the table, the table is empty or one method in it was run with several settings or
        on several versions of the data, or an argument is out of range.
    MissingKeyError
        If a column of :func:`run` is not there, or the baseline was not run.
    """
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    if len(table) and "error" in table and (table["error"] != "").all():
        table = table.assign(**{name: np.nan for name in (*metrics, *_OF_RUNS) if name not in table})
    _check(table, metrics, baseline, confidence, n_resamples)
    _check_settings(table)
    shared = [name for name in _SHARED if name in table]
    rows: list[dict[str, Any]] = []
    for (dataset, split), part in table.groupby(["dataset", "split"], sort=False, observed=True):
        floor = part[(part["method"] == baseline) & (part["error"] == "")]
        # the same draws for every method, so that two methods of one call can be held against each other too
        draws = _Draws(part, n_resamples, generator_of(rng))
        for method, runs in part.groupby("method", sort=False, observed=True):
            good = runs[runs["error"] == ""]
            about = {
                "dataset": dataset,
                "split": split,
                "method": method,
                "role": runs["role"].iloc[0],
                "n_seeds": int(good.groupby("fold")["seed"].nunique().max()) if len(good) else 0,
                "n_failed": int((runs["error"] != "").sum()),
                "fit_seconds": good["fit_seconds"].mean(),
                **good[shared].mean(),
                "shared_seconds": good[shared].sum(axis=1, min_count=1).mean(),
                "peak_memory_mb": good["peak_memory_mb"].max(),
            }
            resampled = draws.differences(good, floor) if method != baseline and n_resamples else {}
            for metric in metrics:
                values = good.groupby("fold")[metric].mean().dropna()
                of_floor = floor.groupby("fold")[metric].mean().reindex(values.index)
                interval = _t_interval(values.to_numpy(dtype=float), confidence)
                low, high = np.clip(interval, *_possible(metric))
                rows.append(
                    about
                    | {"metric": metric, "n_folds": len(values), "mean": values.mean(), "low": low, "high": high}
                    | {"baseline": of_floor.mean(), "difference": (values - of_floor).mean()}
                    | _percentiles(resampled.get(metric), confidence)
                )
    return pd.DataFrame(rows, columns=[name for name in _COLUMNS if name not in _SHARED or name in shared])


def _check(table: pd.DataFrame, metrics: list[str], baseline: str, confidence: float, n_resamples: int) -> None:
    if not len(table):
        msg = "The table is empty. Give what `sg.bm.run` or `sg.bm.read_results` returned."
        raise ArgumentError(msg)
    if missing := [column for column in _NEEDED if column not in table]:
        msg = f"The table has no column {missing[0]!r}: give what `sg.bm.run` or `sg.bm.read_results` returned."
        raise MissingKeyError(msg)
    if unknown := [metric for metric in metrics if metric not in table]:
        msg = f"The table has no metric {unknown[0]!r}. Columns: {', '.join(map(str, table.columns))}."
        raise ArgumentError(msg)
    if not 0 < confidence < 1 or n_resamples < 0:
        msg = f"confidence is between 0 and 1 and n_resamples at least 0; got {confidence!r} and {n_resamples!r}."
        raise ArgumentError(msg)
    if baseline not in set(table["method"]):
        msg = (
            f"The baseline {baseline!r} is not among the methods: {', '.join(map(str, table['method'].unique()))}. "
            "Name one of them by `baseline=`."
        )
        raise MissingKeyError(msg)


def _check_settings(table: pd.DataFrame) -> None:
    """Raise where runs that differ by more than fold and seed have one label."""
    for column in _SETTINGS:
        if column not in table:
            continue
        several = table.groupby(["dataset", "split", "method"], sort=False, observed=True)[column].nunique()
        if (several > 1).any():
            dataset, split, method = several[several > 1].index[0]
            of_label = table[(table["dataset"] == dataset) & (table["split"] == split) & (table["method"] == method)]
            found = ", ".join(map(repr, of_label[column].unique()))
            msg = (
                f"{method!r} was run with several {column} on {dataset!r}, split {split!r}: {found}. Choose one, "
                f"as `table[table[{column!r}] == …]`."
            )
            raise ArgumentError(msg)


def _t_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    from scipy.stats import t

    if len(values) < LEAST_FOLDS:
        return np.nan, np.nan
    half = t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def _possible(metric: str) -> tuple[float, float]:
    """The least and the largest value that a metric can take, as far as they are known."""
    if metric in _AT_MOST_ONE or metric.startswith("precision_at_"):
        return 0.0, 1.0
    return (0.0 if metric in _NOT_NEGATIVE else -np.inf), np.inf


def _percentiles(differences: np.ndarray | None, confidence: float) -> dict[str, float]:
    usable = np.empty(0) if differences is None else differences[np.isfinite(differences)]
    if not len(usable):
        return {"difference_low": np.nan, "difference_high": np.nan}
    low, high = np.percentile(usable, [50 * (1 - confidence), 50 * (1 + confidence)])
    return {"difference_low": float(low), "difference_high": float(high)}


class _Draws:
    """Regulators of one dataset and kind of split, drawn with replacement, and what runs score on them.

    Parameters
    ----------
    runs
        All rows of the dataset and kind.
    n_resamples
        Number of draws.
    rng
        Source of randomness.
    """

    def __init__(self, runs: pd.DataFrame, n_resamples: int, rng: np.random.Generator) -> None:
        kept = runs.loc[runs["predictions"] != ""].drop_duplicates("fold")["predictions"] if n_resamples else []
        found = [np.unique(_read(path)["regulators"]) for path in kept]
        self.regulators = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
        n_regulators = len(self.regulators)
        if n_regulators:
            share = np.full(n_regulators, 1 / n_regulators)
            self.times = rng.multinomial(n_regulators, share, size=n_resamples)  # (B, R)
        self._metrics = lru_cache(maxsize=64)(self._compute)  # the floor's are asked for again and again

    def differences(self, runs: pd.DataFrame, floor: pd.DataFrame) -> dict[str, np.ndarray]:
        """For each metric, the difference of runs from the floor in each draw, meaned over folds: ``float64 (B,)``."""
        at_floor = {fold: self._mean(of_fold) for fold, of_fold in floor.groupby("fold")["predictions"]}
        of_folds: list[dict[str, np.ndarray]] = []
        for fold, of_fold in runs.groupby("fold")["predictions"]:
            if fold in at_floor:
                of_runs = self._mean(of_fold)
                of_folds.append({metric: of_runs[metric] - at_floor[fold][metric] for metric in RESAMPLED})
        if not of_folds:
            return {}
        stacked = {metric: np.stack([fold[metric] for fold in of_folds]) for metric in RESAMPLED}
        # A draw may leave a fold without one of the classes; the other folds still count.
        counts = {metric: np.isfinite(values).sum(axis=0) for metric, values in stacked.items()}
        return {
            metric: np.where(counts[metric] > 0, np.nansum(values, axis=0) / np.maximum(counts[metric], 1), np.nan)
            for metric, values in stacked.items()
        }

    def _mean(self, paths: Iterable[str]) -> dict[str, np.ndarray]:
        """For each metric, the mean over the seeds of a fold in each draw."""
        of_seeds = [self._metrics(path) for path in paths]
        return {metric: np.mean([seed[metric] for seed in of_seeds], axis=0) for metric in RESAMPLED}

    def _compute(self, path: str) -> dict[str, np.ndarray]:
        kept = _read(path)
        codes = np.searchsorted(self.regulators, kept["regulators"])
        present, codes = np.unique(codes, return_inverse=True)
        return resampled_metrics(kept["labels"], kept["scores"].astype(np.float64), codes, self.times[:, present])


def _read(path: str) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in ("labels", "scores", "regulators")}
    except (OSError, ValueError, KeyError) as error:
        msg = (
            f"The predictions of a run, {str(path)!r}, cannot be read ({error}). Read the results anew with "
            "`sg.bm.read_results(folder)` if the folder has moved, or pass n_resamples=0."
        )
        raise MissingKeyError(msg) from error
