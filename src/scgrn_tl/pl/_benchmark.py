"""A benchmark as dots: every method on every dataset, beside the hub floor and the random level."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.argument_types import typed_arguments

from ._dot_rows import draw_estimate, note_beside, set_value_axis, shortfall
from ._palette import BLACK, BLUE, GREY, VERMILLION
from ._quiet_axes import COLUMN, DASHES, DOTS, PAGE, SMALL, TEXT, TITLE, legend_below, quiet, warn_if_cut
from ._results import (
    METRICS,
    Metric,
    as_names,
    best_first,
    find_metric,
    hub_floor_rows,
    kinds_of,
    read_results,
    summarize,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["benchmark"]

LOGGER = logging.getLogger(__name__)

_ROW_HEIGHT = 0.145
_PANEL_WIDTH = 1.15
"""Inches; a panel is at least so wide."""
_GAP = 0.6
"""Between groups, in rows."""


class _Row(NamedTuple):
    """One method: where its row is, and what it looks like."""

    name: str
    y: float
    kind: str
    color: str
    marker: str
    filled: bool


@typed_arguments
def benchmark(
    table: pd.DataFrame,
    *,
    metric: str | Sequence[str] = ("auroc", "auprc"),
    split: str | None = None,
    methods: str | Iterable[str] | None = None,
    datasets: str | Iterable[str] | None = None,
    floor: str | None = "hub_floor",
    highlight: str | Iterable[str] | None = None,
    width: float | None = None,
    axes: Axes | Sequence[Axes] | np.ndarray | None = None,
    legend: bool = True,
) -> np.ndarray:
    """Draw how methods did on datasets, one panel for each metric and dataset, one row for each method.

    Figure 2 of Kommu et al. (2024), as dots. A large marker is the mean over folds, each fold's seeds averaged first;
    the line through it is the 95 % t-interval over folds, or over seeds where there is one fold; fewer than three
    values have none. It is about folds and seeds of one dataset, not about other datasets, and folds that share
    training pairs are not independent. A t-interval knows of no limits: it is cut at 0, and at 1 for metrics that go no
    further. One that goes on beyond the edge of its panel has a triangle there. Ticks are the runs themselves, where a
    method has at most 15. For times and memory the mean is geometric.

    Methods are sorted by their mean in the first metric, the best on top; where one lacks a dataset, by how far it is
    from the mean of all methods on the others. Floors and controls stand below, in grey. A dashed line is the hub
    floor, a dotted one the random level, their values above; the mean of each method is printed at the right. Runs that
    failed are counted in the row.

    Parameters
    ----------
    table
        Results as :func:`scgrn_tl.bm.run` returns them: one row for each dataset, method, split, fold and seed.
    metric
        One or several of ``auroc``, ``auprc``, ``auprc_ratio``, ``epr``, ``tf_auroc``, ``tf_auprc_ratio``, ``brier``,
        ``ece``, ``fit_seconds`` and ``peak_memory_mb``.
    split
        Which kind of split (``"given"``, ``"tf"``, …); needed where the table holds several.
    methods
        Which methods get a row; all if ``None``.
    datasets
        Which datasets, in this order; all, in the order of the table, if ``None``.
    floor
        Method drawn as the dashed line, whether or not it has a row; ``None`` for no line.
    highlight
        Methods drawn in another colour, their names in bold.
    width
        Width of a new figure in inches; panels that do not fit beside each other go below. A column's width (3.4) for
        one panel, a page's (7) for more if ``None``.
    axes
        Where to draw: one axes for each metric and dataset, in the order of the result. A new figure if ``None``. Names
        and legend stand outside the axes: make their figure with ``layout="constrained"``, or they may be cut.
    legend
        Draw the legend below the panels.

    Returns
    -------
    The axes as ``object[n_metrics, n_datasets]``. Markers, intervals, their triangles and ticks have the gids
    ``"mean:<method>"``, ``"interval:<method>"``, ``"beyond:<method>"`` and ``"runs:<method>"``, the lines ``"floor"``
    and ``"random"``.

    Raises
    ------
    MissingKeyError
        If the table lacks a column.
    ArgumentError
        If the table has no rows, the same run twice, or several kinds of split with none chosen; if a metric, dataset,
        method or split is unknown; or if the number of axes is not that of the panels.

    Examples
    --------
    >>> results = sg.bm.run(["hHEP500", "mDC500"], ["sctransnet", "pearson", "hub_floor"])  # doctest: +SKIP
    >>> sg.pl.benchmark(results, metric="auroc", split="given", width=3.4)  # doctest: +SKIP
    """
    names = [metric] if isinstance(metric, str) else list(metric)
    drawn = [find_metric(name) for name in names]
    if not drawn:
        msg = f"metric is empty: there is nothing to draw. There are: {', '.join(METRICS)}."
        raise ArgumentError(msg)
    levels = [each.random for each in drawn if isinstance(each.random, str)]
    rows = read_results(table, columns=["role", "supervised", *names, *levels], split=split, datasets=datasets)
    everyone = rows["method"].unique().tolist()
    of_floor = hub_floor_rows(rows, floor)
    if floor is not None and not len(of_floor):
        LOGGER.warning("The table has no %r: nothing shows what edge counts alone would reach.", floor)
    chosen = as_names(methods, "methods", everyone)
    stand_out = [] if highlight is None else as_names(highlight, "highlight", everyone)
    shown = rows[rows["method"].isin(chosen)]
    layout = _arrange(shown, chosen, stand_out, names[0])
    on = rows["dataset"].unique().tolist()

    panels = _panels(axes, layout, drawn, n_datasets=len(on), width=width)
    for name, of_metric in zip(names, panels, strict=True):
        for dataset, ax in zip(on, of_metric, strict=True):
            _draw_panel(
                ax,
                shown[shown["dataset"] == dataset],
                layout,
                name,
                level=_random_level(rows[rows["dataset"] == dataset], METRICS[name]),
                floor=_floor_level(of_floor[of_floor["dataset"] == dataset], name),
                title=dataset,
            )
    if legend:
        legend_below(panels.ravel().tolist(), _legend_handles(panels, layout, floor=str(floor)))
    if axes is not None:
        warn_if_cut(panels.ravel().tolist())
    return panels


def _arrange(shown: pd.DataFrame, chosen: list[str], stand_out: list[str], name: str) -> list[_Row]:
    """The rows from top to bottom: methods, floors, controls, each group from the best to the worst."""
    looks = {
        "supervised": (BLUE, "o", True),
        "unsupervised": (BLUE, "o", False),
        "floor": (GREY, "s", True),
        "control": (GREY, "D", False),
    }
    kinds = kinds_of(shown)
    rows: list[_Row] = []
    y = 0.0
    for group in best_first(shown, chosen, name):
        for method in group:
            color, marker, filled = looks[kinds[method]]
            rows.append(_Row(method, y, kinds[method], VERMILLION if method in stand_out else color, marker, filled))
            y += 1.0
        y += _GAP if group else 0.0
    return rows


def _panels(
    axes: Axes | Sequence[Axes] | np.ndarray | None,
    layout: list[_Row],
    metrics: list[Metric],
    *,
    n_datasets: int,
    width: float | None,
) -> np.ndarray:
    """``object[n_metrics, n_datasets]``: the axes given, or those of a new figure."""
    import matplotlib.pyplot as plt

    n_metrics = len(metrics)
    n_panels = n_metrics * n_datasets
    if axes is not None:
        given = np.array(axes, dtype=object).ravel()
        if len(given) != n_panels:
            msg = (
                f"{len(given)} axes for {n_panels} panels: one is needed for each of {n_metrics} metrics and "
                f"{n_datasets} datasets. "
                f"Make them by `plt.subplots({n_metrics}, {n_datasets})`."
            )
            raise ArgumentError(msg)
        return given.reshape(n_metrics, n_datasets)

    if width is not None and not 0 < width < np.inf:
        msg = f"width is a number of inches above 0, not {width!r}."
        raise ArgumentError(msg)
    wide = (COLUMN if n_panels == 1 else PAGE) if width is None else width
    of_labels = max(len(row.name) for row in layout) * 0.55 * TEXT / 72
    # A single dataset has its metrics side by side; several have a line of panels, or more, for each metric.
    per_line = n_metrics if n_datasets == 1 else n_datasets
    n_columns = min(per_line, max(1, int((wide - of_labels) / _PANEL_WIDTH)))
    n_lines = -(-per_line // n_columns) * (1 if n_datasets == 1 else n_metrics)
    around = 0.62 + 0.12 * max(metric.axis_label.count("\n") for metric in metrics)
    height = n_lines * ((layout[-1].y + 1) * _ROW_HEIGHT + around) + 0.4
    figure, grid = plt.subplots(n_lines, n_columns, figsize=(wide, height), squeeze=False, layout="constrained")
    per_block = grid.size // (1 if n_datasets == 1 else n_metrics)  # a metric's panels, with those left empty
    blocks = grid.reshape(-1, per_block)
    for ax in blocks[:, per_line:].ravel():
        figure.delaxes(ax)
    panels: np.ndarray = blocks[:, :per_line].reshape(n_metrics, n_datasets)
    return panels


def _draw_panel(
    ax: Axes, shown: pd.DataFrame, layout: list[_Row], name: str, *, level: float, floor: float, title: str
) -> None:
    metric = METRICS[name]
    quiet(ax)
    runs = {row.name: shown[shown["method"] == row.name] for row in layout}
    estimates = {
        method: summarize(of_method[name], of_method["fold"], is_log=metric.is_log, possible=metric.possible)
        for method, of_method in runs.items()
    }
    values = {method: of_method[name].dropna().to_numpy(dtype=float) for method, of_method in runs.items()}
    set_value_axis(
        ax,
        np.concatenate(list(values.values())),
        list(estimates.values()),
        [level, floor],
        is_log=metric.is_log,
    )
    ax.set_ylim(layout[-1].y + 0.7, -0.7)
    _draw_levels(ax, level, floor, metric)
    for row in layout:
        ax.axhline(row.y, color="#E6E6E6", lw=0.5, zorder=0.5)
        estimate, of_row = estimates[row.name], values[row.name]
        face = row.color if row.filled else "white"
        draw_estimate(ax, row.y, estimate, of_row, name=row.name, color=row.color, marker=row.marker, face=face)
        if note := shortfall(runs[row.name], name):
            note_beside(ax, row.y, note, np.array([*of_row, *estimate]))
        ax.annotate(
            metric.printed(estimate.mean),
            xy=(1.0, row.y),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL,
            color=row.color if row.color == VERMILLION else BLACK if row.kind.endswith("supervised") else GREY,
            annotation_clip=False,
        )
    _label_rows(ax, layout)
    ax.set_xlabel(metric.axis_label)
    ax.set_title(title, fontsize=TITLE, pad=12 if np.isfinite([level, floor]).any() else 4)


def _draw_levels(ax: Axes, level: float, floor: float, metric: Metric) -> None:
    """The lines of the random level and of the floor, their values above: turned away if close, once if alike."""
    left, right = ax.get_xlim()
    alike = np.isfinite([level, floor]).all() and metric.printed(level) == metric.printed(floor)
    close = not alike and abs(level - floor) < 0.3 * (right - left)
    for value, other, style, gid in ((level, floor, DOTS, "random"), (floor, level, DASHES, "floor")):
        if not np.isfinite(value):
            continue
        ax.axvline(value, color=GREY, lw=0.8, ls=style, zorder=1, gid=gid)
        if alike and gid == "floor":
            continue
        ax.annotate(
            metric.printed(value),
            xy=(value, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 1.5),
            textcoords="offset points",
            ha="center" if not close else "left" if value > other else "right",
            va="bottom",
            fontsize=SMALL,
            color=GREY,
            annotation_clip=False,
        )


def _label_rows(ax: Axes, layout: list[_Row]) -> None:
    """Names of the methods, where no panel at the left has them already."""
    place = ax.get_subplotspec()
    ax.set_yticks([row.y for row in layout])
    ax.tick_params(axis="y", length=0, pad=3)
    if place is not None and not place.is_first_col():
        ax.tick_params(axis="y", labelleft=False)
        return
    ax.set_yticklabels([row.name for row in layout])
    for label, row in zip(ax.get_yticklabels(), layout, strict=True):
        label.set_fontweight("bold" if row.color == VERMILLION else "normal")
        label.set_color(row.color if row.color == VERMILLION else BLACK if row.kind.endswith("supervised") else GREY)


def _random_level(rows: pd.DataFrame, metric: Metric) -> float:
    if isinstance(metric.random, str):
        return float(rows[metric.random].mean())
    return np.nan if metric.random is None else metric.random


def _floor_level(rows: pd.DataFrame, name: str) -> float:
    return summarize(rows[name], rows["fold"]).mean if METRICS[name].of_ranking else np.nan


def _legend_handles(panels: np.ndarray, layout: list[_Row], *, floor: str) -> list[Artist]:
    """Of what is drawn in any of the panels, and nothing else."""
    from matplotlib.lines import Line2D

    drawn = {str(line.get_gid()) for ax in panels.ravel() for line in ax.lines}
    forms = {gid.partition(":")[0] for gid in drawn}
    handles: list[Artist] = []
    for kind in ("supervised", "unsupervised", "floor", "control"):
        look = next((row for row in layout if row.kind == kind and f"mean:{row.name}" in drawn), None)
        if look is not None:
            color = BLUE if kind.endswith("supervised") else GREY
            style: dict[str, Any] = {"marker": look.marker, "mec": color, "mfc": color if look.filled else "white"}
            handles.append(Line2D([], [], ls="none", ms=4.2, mew=0.8, label=kind, **style))
    if "interval" in forms:
        handles.append(Line2D([], [], color=BLACK, lw=0.9, label="95 % interval"))
    if "runs" in forms:
        handles.append(Line2D([], [], color=BLACK, ls="none", marker="|", ms=4.0, mew=0.5, label="one run"))
    if "floor" in forms:
        handles.append(Line2D([], [], color=GREY, lw=0.8, ls=DASHES, label=floor))
    if "random" in forms:
        handles.append(Line2D([], [], color=GREY, lw=0.8, ls=DOTS, label="random level"))
    return handles
