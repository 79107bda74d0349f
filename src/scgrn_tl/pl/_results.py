"""The tidy table of ``sg.bm.run``: which rows a plot is of, and what they amount to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "METRICS",
    "RUN",
    "Estimate",
    "Metric",
    "as_names",
    "best_first",
    "by_role",
    "find_metric",
    "hub_floor_rows",
    "kinds_of",
    "read_results",
    "summarize",
]

RUN = ["dataset", "method", "split", "fold", "seed"]
"""What tells one row of the table from another."""

_ROLES = ("method", "floor", "control")
_LEAST_FOR_AN_INTERVAL = 3


@dataclass(frozen=True)
class Metric:
    """How a metric is written and drawn.

    Attributes
    ----------
    label
        Its name on an axis.
    digits
        Decimals of a printed value; two significant digits of small ones where the axis is logarithmic.
    random
        Its value for random scores, the name of the column that holds it, or ``None``.
    of_ranking
        Whether it judges a ranking of edges, so that a floor can be held against it.
    lower_is_better
        Whether small values are good.
    is_log
        Whether its axis is logarithmic and means are geometric.
    most
        The largest value it can take; the least is 0.
    """

    label: str
    digits: int = 3
    random: float | str | None = None
    of_ranking: bool = True
    lower_is_better: bool = False
    is_log: bool = False
    most: float = np.inf

    def printed(self, value: float) -> str:
        """The value as text; a dash for NaN."""
        if np.isnan(value):
            return "–"
        return f"{value:.2g}" if self.is_log and value < 100 else f"{value:,.{self.digits}f}"

    @property
    def possible(self) -> tuple[float, float]:
        """The least and the largest value that it can take."""
        return 0.0, self.most

    @property
    def axis_label(self) -> str:
        """The label, and on a second line that lower is better where it is."""
        return f"{self.label}\n(lower is better)" if self.lower_is_better else self.label


METRICS: dict[str, Metric] = {
    "auroc": Metric("AUROC", random=0.5, most=1.0),
    "auprc": Metric("AUPRC", random="prevalence", most=1.0),
    "auprc_ratio": Metric("AUPRC ÷ prevalence", digits=2, random=1.0),
    "epr": Metric("early precision ratio", digits=2, random=1.0),
    "tf_auroc": Metric("AUROC per TF", random=0.5, most=1.0),
    "tf_auprc_ratio": Metric("AUPRC ÷ prevalence\nper TF", digits=2, random=1.0),
    "brier": Metric("Brier score", lower_is_better=True, most=1.0),
    "ece": Metric("calibration error", lower_is_better=True, most=1.0),
    "fit_seconds": Metric("seconds of a fit", digits=0, of_ranking=False, lower_is_better=True, is_log=True),
    "peak_memory_mb": Metric("peak memory in MB", digits=0, of_ranking=False, lower_is_better=True, is_log=True),
}


class Estimate(NamedTuple):
    """A mean over folds and its 95 % interval; the bounds are NaN where there are too few values for one."""

    mean: float
    low: float
    high: float


def find_metric(name: str) -> Metric:
    """The metric called ``name``.

    Raises
    ------
    ArgumentError
        If it is not one that can be drawn.
    """
    if name not in METRICS:
        msg = f"metric={name!r} cannot be drawn. There are: {', '.join(METRICS)}."
        raise ArgumentError(msg)
    return METRICS[name]


def read_results(
    table: pd.DataFrame,
    *,
    columns: Iterable[str],
    split: str | None,
    datasets: str | Iterable[str] | None = None,
) -> pd.DataFrame:
    """A copy of the rows of one kind of split and of some datasets, their texts plain strings.

    Parameters
    ----------
    table
        As :func:`scgrn_tl.bm.run` returns it, or read back from a file.
    columns
        Which are needed besides those of :data:`RUN`; numbers but for ``role`` and ``predictions``.
    split
        Kind of split; the only one there is if ``None``.
    datasets
        Which datasets, in this order; all in the order of the table if ``None``.

    Returns
    -------
    The rows with the columns of :data:`RUN`, ``columns`` and ``error``, sorted by the order of the datasets.

    Raises
    ------
    MissingKeyError
        If a column is not there.
    ArgumentError
        If the table has no rows, or several kinds of split and none is chosen, or a name is unknown, or a row stands
        there twice.
    """
    if not isinstance(table, pd.DataFrame):
        msg = f"A table of results (a DataFrame, as of `sg.bm.run`) is expected, not {type(table).__name__}."
        raise ArgumentError(msg)
    needed = list(dict.fromkeys([*RUN, *columns]))
    if missing := [name for name in needed if name not in table]:
        msg = (
            f"The table has no column {', '.join(map(repr, missing))}. A table of `sg.bm.run` is expected; this one "
            f"has {', '.join(map(str, table.columns))}."
        )
        raise MissingKeyError(msg)
    if not len(table):
        msg = "The table has no rows: there is nothing to draw. Give what `sg.bm.run` or `sg.bm.read_results` returned."
        raise ArgumentError(msg)
    # After a round trip through a file, texts may be categories, and an empty one NaN.
    rows = table[needed].astype({"dataset": str, "method": str, "split": str}).reset_index(drop=True)
    rows["error"] = table["error"].astype(object).fillna("").astype(str).to_numpy() if "error" in table else ""

    numbers = [name for name in needed if name in METRICS or name == "prevalence"]
    rows[numbers] = rows[numbers].astype(float)

    kinds = rows["split"].unique().tolist()
    if split is None and len(kinds) > 1:
        msg = f"The table holds several kinds of split, which do not mix: {_listed(kinds)}. Choose one with split=."
        raise ArgumentError(msg)
    if split is not None and split not in kinds:
        msg = f"The table has no split {split!r}; there are: {_listed(kinds)}."
        raise ArgumentError(msg)
    rows = rows[rows["split"] == (kinds[0] if split is None else split)]
    wanted = as_names(datasets, "datasets", rows["dataset"].unique().tolist())
    rows = rows[rows["dataset"].isin(wanted)]
    if (repeated := rows.duplicated(RUN)).any():
        first = rows.loc[repeated, RUN].iloc[0].to_dict()
        msg = (
            f"{int(repeated.sum())} runs stand in the table more than once, the first being {first}; they would count "
            "as independent. Drop repeated rows, or tell variants apart by the column 'method'."
        )
        raise ArgumentError(msg)
    return rows.sort_values("dataset", key=lambda names: names.map(wanted.index), kind="stable", ignore_index=True)


def as_names(chosen: str | Iterable[str] | None, argument: str, known: Sequence[str]) -> list[str]:
    """``chosen`` as a list without repeats; all that are ``known`` if ``None``.

    Raises
    ------
    ArgumentError
        If one of them is not known, or there is none.
    """
    if chosen is None:
        return list(known)
    names = [chosen] if isinstance(chosen, str) else list(dict.fromkeys(map(str, chosen)))
    if unknown := [name for name in names if name not in known]:
        msg = f"{argument} has {_listed(unknown)}, not in the table; there are: {_listed(known)}."
        raise ArgumentError(msg)
    if not names:
        msg = f"{argument} is empty: there is nothing to draw. Name at least one, or leave it at None for all."
        raise ArgumentError(msg)
    return names


def hub_floor_rows(rows: pd.DataFrame, floor: str | None) -> pd.DataFrame:
    """The rows of the floor that the others are held against; none if it did not run.

    Raises
    ------
    ArgumentError
        If a floor other than the default is asked for and is not there.
    """
    found = rows[rows["method"] == floor]
    if not len(found) and floor not in (None, "hub_floor"):
        msg = f"floor={floor!r} is not among the methods of the table: {_listed(rows['method'].unique().tolist())}."
        raise ArgumentError(msg)
    return found


def kinds_of(rows: pd.DataFrame) -> dict[str, str]:
    """What each method is: ``"supervised"``, ``"unsupervised"``, ``"floor"`` or ``"control"``.

    Raises
    ------
    ArgumentError
        If the column ``role`` has something else than ``"method"``, ``"floor"`` and ``"control"``.
    """
    first = rows.drop_duplicates("method")
    role = first["role"].astype(str)
    if strange := sorted(set(role) - set(_ROLES)):
        msg = f"The column 'role' has {', '.join(map(repr, strange))}; it is one of {', '.join(map(repr, _ROLES))}."
        raise ArgumentError(msg)
    learns = np.where(first["supervised"].astype(bool), "supervised", "unsupervised")
    return dict(zip(first["method"], np.where(role == "method", learns, role).tolist(), strict=True))


def by_role(kinds: dict[str, str], names: Iterable[str], standing: Callable[[str], Any]) -> list[list[str]]:
    """``names`` in three groups, methods, floors and controls, each sorted by ``standing``."""
    ordered = sorted(names, key=standing)
    apart = {"floor": 1, "control": 2}
    return [[name for name in ordered if apart.get(kinds[name], 0) == group] for group in range(3)]


def best_first(rows: pd.DataFrame, names: Sequence[str], metric: str) -> list[list[str]]:
    """``names`` in three groups, methods, floors and controls, each from the best mean to the worst.

    Where a method lacks a dataset, what counts is its distance to the mean of all on the others: it is not better for
    leaving out a hard one.
    """
    about = METRICS[metric]
    means = pd.DataFrame(
        {
            dataset: {
                method: summarize(runs[metric], runs["fold"], is_log=about.is_log).mean
                for method, runs in of_dataset.groupby("method")
            }
            for dataset, of_dataset in rows.groupby("dataset")
        }
    ).reindex(names)
    if about.is_log:
        means = np.log(means)
    standing = (means - means.mean()).mean(axis=1) * (1 if about.lower_is_better else -1)
    return by_role(kinds_of(rows), names, lambda name: (np.isnan(standing[name]), np.nan_to_num(standing[name]), name))


def summarize(
    values: pd.Series,
    fold: pd.Series,
    *,
    is_log: bool = False,
    possible: tuple[float, float] = (-np.inf, np.inf),
) -> Estimate:
    """Mean over folds with its 95 % t-interval.

    Seeds of one fold share its test pairs, so they are averaged first and folds are what is counted. With a single fold
    the interval is over seeds, and says nothing of other test pairs. Fewer than three values have no interval: that of
    two is some nine times as wide as they are apart, and tells less than the two themselves.

    Parameters
    ----------
    values
        One per run; NaN where a run has none.
    fold
        Which fold each run is of.
    is_log
        Average logarithms: a geometric mean. Values below one millionth count as that much.
    possible
        The least and the largest value that there can be: a t-interval knows of no limits and is cut there.

    Returns
    -------
    All NaN without values.
    """
    given = values.astype(float).dropna()
    if not len(given):
        return Estimate(np.nan, np.nan, np.nan)
    if is_log:
        given = np.log(given.clip(lower=1e-6))
    by_fold = given.groupby(fold[given.index]).mean()
    sample = (by_fold if len(by_fold) > 1 else given).to_numpy()
    mean, margin = float(sample.mean()), np.nan
    if len(sample) >= _LEAST_FOR_AN_INTERVAL:
        from scipy import stats

        margin = float(stats.t.ppf(0.975, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample)))
    found = np.array([mean, mean - margin, mean + margin])
    if is_log:
        found = np.exp(found)
    return Estimate(float(found[0]), *map(float, np.clip(found[1:], *possible)))


def _listed(names: Sequence[Any], limit: int = 30) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
