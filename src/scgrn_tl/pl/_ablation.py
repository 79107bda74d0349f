"""An ablation as dots: what each variant of a model loses or gains against the full one, run by run."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.argument_types import typed_arguments

from ._dot_rows import draw_estimate, note_beside, set_value_axis, shortfall
from ._palette import BLACK, BLUE, GREEN, GREY, PURPLE, SKY_BLUE, VERMILLION
from ._quiet_axes import COLUMN, legend_below, quiet, warn_if_cut
from ._results import METRICS, Estimate, Metric, as_names, by_role, find_metric, kinds_of, read_results, summarize

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

__all__ = ["ablation", "worst_first"]

_COLORS = (BLUE, VERMILLION, GREEN, PURPLE, SKY_BLUE, BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_SPREAD = 0.62
"""How much of a row its datasets take up."""
_GAP = 0.35
"""Between groups, in rows."""
_SIZE = 3.4


@typed_arguments
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
    worst for being without its part stands on top. Floors and controls, which are no ablations, stand below in grey,
    controls with open markers. An interval that goes on beyond the edge of the axes has a triangle there.

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
        Where to draw; a new figure of one column's width if ``None``. Names and legend stand outside the axes: make
        their figure with ``layout="constrained"``, or they may be cut.
    legend
        Draw the legend below the axes, with the full model's own mean on every dataset.

    Returns
    -------
    The axes. Markers, intervals, their triangles and ticks have the gids ``"mean:<variant>:<dataset>"``,
    ``"interval:…"``, ``"beyond:…"`` and ``"runs:…"``.

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
    rows = read_results(table, columns=["role", "supervised", metric], split=split, datasets=datasets)
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
    paired = paired[paired["method"].isin(variants)]
    estimates = _estimates(paired, about)
    kinds = kinds_of(rows)
    groups = [group for group in by_role(kinds, variants, _standing(on, estimates, about)) if group]
    height: dict[str, float] = {}
    for number, group in enumerate(groups):
        height |= {name: len(height) + at + _GAP * number for at, name in enumerate(group)}

    is_new = ax is None
    if ax is None:
        n_rows = max(height.values()) + 1
        _, ax = plt.subplots(figsize=(COLUMN, 1.1 + n_rows * (0.1 + 0.1 * len(on))), layout="constrained")
    quiet(ax)
    same = 1.0 if about.is_log else 0.0
    set_value_axis(ax, paired["difference"].dropna().to_numpy(), list(estimates.values()), [same], is_log=about.is_log)
    ax.set_ylim(max(height.values()) + 0.5, -0.5)
    ax.axvline(same, color=GREY, lw=0.8, zorder=1, gid="full")
    shifts = _SPREAD * ((np.arange(len(on)) + 0.5) / len(on) - 0.5)
    for above, here in pairwise(height.values()):
        ax.axhline((above + here) / 2, color="#E6E6E6", lw=0.5, zorder=0.5)
    for variant, y in height.items():
        for number, (dataset, shift) in enumerate(zip(on, shifts, strict=True)):
            runs = paired[(paired["method"] == variant) & (paired["dataset"] == dataset)]
            values = runs["difference"].dropna().to_numpy()
            estimate = estimates.get((variant, dataset), Estimate(np.nan, np.nan, np.nan))
            color, marker, face = _look(kinds[variant], number)
            draw_estimate(
                ax,
                y + shift,
                estimate,
                values,
                name=f"{variant}:{dataset}",
                color=color,
                marker=marker,
                face=face,
                size=_SIZE,
                interval_above=True,
            )
            if note := shortfall(runs, "difference"):
                several = f"{dataset}: " if len(on) > 1 else ""
                note_beside(ax, y + shift, several + note, np.array([*values, *estimate]))
    ax.set_yticks(list(height.values()), list(height))
    for label, variant in zip(ax.get_yticklabels(), height, strict=True):
        label.set_color(BLACK if kinds[variant].endswith("supervised") else GREY)
    ax.tick_params(axis="y", length=0, pad=3)
    kind = "ratio to" if about.is_log else "difference from"
    better = "\n(lower is better)" if about.lower_is_better else ""
    ax.set_xlabel(f"{about.label}, {kind} {full}{better}")
    if legend:
        handles = _legend_handles(rows, full, metric, on, [kinds[variant] for variant in height])
        legend_below([ax], handles, title=f"{about.label} of {full}")
    if not is_new:
        warn_if_cut([ax])
    return ax


def worst_first(rows: pd.DataFrame, *, full: str, metric: str) -> list[str]:
    """The variants in the order in which they are drawn, of rows as :func:`read_results` returns them."""
    about = METRICS[metric]
    variants = [name for name in rows["method"].unique() if name != full]
    estimates = _estimates(_pair(rows, full, metric, is_log=about.is_log), about)
    groups = by_role(kinds_of(rows), variants, _standing(rows["dataset"].unique().tolist(), estimates, about))
    return [name for group in groups for name in group]


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


def _estimates(paired: pd.DataFrame, about: Metric) -> dict[tuple[str, str], Estimate]:
    """Mean and interval of the differences (or ratios) of each variant on each dataset."""
    return {
        (variant, dataset): summarize(
            runs["difference"],
            runs["fold"],
            is_log=about.is_log,
            possible=(0.0 if about.is_log else -about.most, about.most),
        )
        for (variant, dataset), runs in paired.groupby(["method", "dataset"])
    }


def _standing(
    on: list[str], estimates: dict[tuple[str, str], Estimate], about: Metric
) -> Callable[[str], tuple[bool, float, str]]:
    """What variants are sorted by: the mean difference over datasets, the worst first; those without any come last."""

    def standing(variant: str) -> tuple[bool, float, str]:
        means = np.array([estimates[variant, name].mean for name in on if (variant, name) in estimates])
        means = means[np.isfinite(means)]
        mean = float(means.mean()) if len(means) else 0.0
        return not len(means), -mean if about.lower_is_better else mean, variant

    return standing


def _look(kind: str, number: int) -> tuple[str, str, ColorType]:
    """Colour, marker and face of the dataset with that number: grey for what is no ablation, open for controls."""
    marker = _MARKERS[number % len(_MARKERS)]
    color = _COLORS[number % len(_COLORS)] if kind.endswith("supervised") else GREY
    return color, marker, "white" if kind == "control" else _pale(color)


def _pale(color: str) -> tuple[float, float, float]:
    """Halfway to white: the interval shows on it."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(color)
    return (1 + red) / 2, (1 + green) / 2, (1 + blue) / 2


def _legend_handles(rows: pd.DataFrame, full: str, metric: str, on: list[str], kinds: list[str]) -> list[Artist]:
    from matplotlib.lines import Line2D

    about = METRICS[metric]
    handles: list[Artist] = []
    for number, dataset in enumerate(on):
        runs = rows[(rows["dataset"] == dataset) & (rows["method"] == full)]
        level = summarize(runs[metric], runs["fold"], is_log=about.is_log).mean
        color, marker, face = _look("supervised", number)
        label = f"{dataset} {about.printed(level)}"
        handles.append(Line2D([], [], color=color, marker=marker, mfc=face, mew=0.8, ms=_SIZE, lw=0.9, label=label))
    for kind in ("floor", "control"):
        if kind in kinds:
            color, marker, face = _look(kind, 0)
            handles.append(Line2D([], [], color=color, marker=marker, mfc=face, mew=0.8, ms=_SIZE, lw=0.9, label=kind))
    return handles
