"""An ablation as dots: what each variant of a model loses or gains against the full one, run by run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError

from ._dot_rows import draw_estimate, note_beside, set_value_axis, shortfall
from ._palette import BLACK, BLUE, GREEN, GREY, PURPLE, SKY_BLUE, VERMILLION
from ._quiet_axes import COLUMN, as_printed, legend_below, quiet
from ._results import METRICS, Estimate, as_names, find_metric, read_results, summarize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["ablation"]

_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, SKY_BLUE, BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SPREAD = 0.62
"""How much of a row its datasets take up."""


def ablation(
    table: pd.DataFrame,
    *,
    full: str = "full",
    metric: str = "auroc",
    split: str | None = None,
    methods: str | Iterable[str] | None = None,
    datasets: str | Iterable[str] | None = None,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Draw by how much each variant of a model differs from the full one.

    Table 1 of Kommu et al. (2024), as dots. Runs are paired: each variant's run less the full model's of the same
    dataset, fold and seed. A large marker is the mean of these differences over folds, each fold's seeds averaged
    first; the line through it is the paired 95 % t-interval over folds, or over seeds where there is one fold; fewer
    than three values have none. Ticks are the differences themselves, where there are at most 15. The variant that is
    worst for being without its part stands on top.

    Parameters
    ----------
    table
        Results as :func:`scgrn_tl.bm.run` returns them, with the full model and its variants in the column ``method``.
    full
        Which of them is the full model.
    metric
        One of those that :func:`scgrn_tl.pl.benchmark` draws. Of times and memory the ratio is drawn in place of the
        difference, on a logarithmic axis, and its mean is geometric.
    split
        Which kind of split; needed where the table holds several.
    methods
        Which variants to show; all if ``None``.
    datasets
        Which datasets, in this order; all, in the order of the table, if ``None``. Each has a colour and a marker.
    ax
        Where to draw; a new figure of one column's width if ``None``.
    legend
        Draw the legend below the axes, with the full model's own mean on every dataset.

    Returns ------- The axes. Markers, intervals and ticks have the gids ``"mean:<variant>:<dataset>"``,
    ``"interval:…"`` and ``"runs:…"``.

    Raises
    ------
    MissingKeyError
        If the table lacks a column.
    ArgumentError
        If the table has no rows, the same run twice, or several kinds of split with none chosen; if a name is unknown;
        if the full model has no value on a dataset, or there is no variant of it.

    Examples
    --------
    >>> sg.pl.ablation(results, full="sctransnet", metric="auprc", split="given")  # doctest: +SKIP
    """
    import matplotlib.pyplot as plt

    about = find_metric(metric)
    rows = read_results(table, columns=[metric], split=split, datasets=datasets)
    everyone = rows["method"].unique().tolist()
    if full not in everyone:
        msg = (
            f"full={full!r} is not among the methods of the table: {', '.join(map(repr, everyone))}. Name one of them."
        )
        raise ArgumentError(msg)
    variants = [name for name in as_names(methods, "methods", everyone) if name != full]
    if not variants:
        msg = f"There is no variant to hold against {full!r}: the table has, or methods= names, the full model alone."
        raise ArgumentError(msg)
    on = rows["dataset"].unique().tolist()
    paired = _pair(rows, full, metric, is_log=about.is_log)
    estimates = {
        (variant, dataset): summarize(runs["difference"], runs["fold"], is_log=about.is_log)
        for (variant, dataset), runs in paired.groupby(["method", "dataset"])
    }
    order = _worst_first(variants, on, estimates, lower_is_better=about.lower_is_better)

    if ax is None:
        height = 1.1 + len(order) * (0.1 + 0.1 * len(on))
        _, ax = plt.subplots(figsize=(COLUMN, height), layout="constrained")
    quiet(ax)
    same = 1.0 if about.is_log else 0.0
    drawn = paired[paired["method"].isin(order)]
    set_value_axis(
        ax,
        drawn["difference"].dropna().to_numpy(),
        [estimate for (variant, _), estimate in estimates.items() if variant in order],
        [same],
        is_log=about.is_log,
    )
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.axvline(same, color=GREY, lw=0.8, zorder=1, gid="full")
    shifts = _SPREAD * ((np.arange(len(on)) + 0.5) / len(on) - 0.5)
    for at, variant in enumerate(order):
        if at:
            ax.axhline(at - 0.5, color="#E6E6E6", lw=0.5, zorder=0.5)
        for number, (dataset, shift) in enumerate(zip(on, shifts, strict=True)):
            runs = drawn[(drawn["method"] == variant) & (drawn["dataset"] == dataset)]
            values = runs["difference"].dropna().to_numpy()
            estimate = estimates.get((variant, dataset), Estimate(np.nan, np.nan, np.nan))
            draw_estimate(
                ax,
                at + shift,
                estimate,
                values,
                name=f"{variant}:{dataset}",
                color=_COLORS[number % len(_COLORS)],
                marker=_MARKERS[number % len(_MARKERS)],
                size=3.8,
            )
            if note := shortfall(runs, "difference"):
                several = f"{dataset}: " if len(on) > 1 else ""
                note_beside(ax, at + shift, several + note, np.array([*values, *estimate]))
    ax.set_yticks(range(len(order)), [as_printed(variant) for variant in order])
    ax.tick_params(axis="y", length=0, pad=3)
    kind = "ratio to" if about.is_log else "difference from"
    better = "\n(lower is better)" if about.lower_is_better else ""
    ax.set_xlabel(f"{about.label}, {kind} {as_printed(full)}{better}")
    if legend:
        handles = _legend_handles(rows, full, metric, on)
        legend_below([ax], handles, title=f"{about.label} of {as_printed(full)}")
    return ax


def _pair(rows: pd.DataFrame, full: str, metric: str, *, is_log: bool) -> pd.DataFrame:
    """Every run but the full model's, with its ``difference`` to that one's (or ratio) in the same fold and seed."""
    paired = ["dataset", "fold", "seed"]
    # Nothing takes no time and no memory: what is below the clock's resolution still has a ratio.
    values = rows.assign(value=rows[metric].clip(lower=1e-3) if is_log else rows[metric])
    of_full = values.loc[values["method"] == full].set_index(paired)["value"]
    has_value = of_full.groupby("dataset").count().reindex(rows["dataset"].unique(), fill_value=0)
    if (has_value == 0).any():
        without = ", ".join(map(repr, has_value.index[has_value == 0]))
        msg = f"{full!r} has no {metric} on {without}: nothing can be held against it. Leave it out with datasets=."
        raise ArgumentError(msg)
    others = values[values["method"] != full].copy()
    reference = of_full.reindex(pd.MultiIndex.from_frame(others[paired])).to_numpy()
    value = others["value"].to_numpy()
    others["difference"] = value / reference if is_log else value - reference
    return others


def _worst_first(
    variants: list[str], on: list[str], estimates: dict[tuple[str, str], Estimate], *, lower_is_better: bool
) -> list[str]:
    """By the mean difference over datasets; those without any come last."""

    def standing(variant: str) -> tuple[bool, float, str]:
        means = np.array([estimates[variant, name].mean for name in on if (variant, name) in estimates])
        means = means[np.isfinite(means)]
        mean = float(means.mean()) if len(means) else 0.0
        return not len(means), -mean if lower_is_better else mean, variant

    return sorted(variants, key=standing)


def _legend_handles(rows: pd.DataFrame, full: str, metric: str, on: list[str]) -> list[Artist]:
    from matplotlib.lines import Line2D

    about = METRICS[metric]
    handles: list[Artist] = []
    for number, dataset in enumerate(on):
        runs = rows[(rows["dataset"] == dataset) & (rows["method"] == full)]
        level = summarize(runs[metric], runs["fold"], is_log=about.is_log).mean
        color, marker = _COLORS[number % len(_COLORS)], _MARKERS[number % len(_MARKERS)]
        label = f"{dataset} {about.printed(level)}"
        handles.append(Line2D([], [], color=color, marker=marker, ms=3.8, lw=0.9, label=label))
    return handles
