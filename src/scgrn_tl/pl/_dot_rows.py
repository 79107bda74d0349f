"""Rows of dots with intervals, one row a method: what the benchmark and the ablation are drawn with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._palette import GREY
from ._quiet_axes import SMALL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from ._results import Estimate

__all__ = ["draw_estimate", "note_beside", "set_value_axis", "shortfall"]

_MOST_DOTS = 15
"""Up to so many runs are shown one by one."""
_PAST_THE_DOTS = 0.35
"""How far an interval may widen the axis on either side, as a share of what dots and lines span."""


def draw_estimate(
    ax: Axes,
    y: float,
    estimate: Estimate,
    values: np.ndarray,
    *,
    name: str,
    color: str,
    marker: str,
    face: ColorType,
    size: float = 4.2,
    interval_above: bool = False,
) -> None:
    """A marker at the mean, a line over its interval, and, where they are few, a tick for every run.

    Where the interval goes on beyond the limits of the axes, which have to be set, a triangle at the edge points there.
    The artists have the gids ``mean:<name>``, ``interval:<name>``, ``runs:<name>`` and ``beyond:<name>``.
    """
    if 1 < len(values) <= _MOST_DOTS:
        ax.plot(values, np.full(len(values), y), "|", ms=4.0, mew=0.5, color=color, zorder=2.2, gid=f"runs:{name}")
    if np.isfinite(estimate.low):
        # A marker may be wider than the interval, and hide it.
        above = 3.2 if interval_above else 2.4
        ax.plot([estimate.low, estimate.high], [y, y], "-", color=color, lw=0.9, zorder=above, gid=f"interval:{name}")
        first, last = ax.get_xlim()
        for edge, marker_there, is_beyond in ((0, 4, estimate.low < first), (1, 5, estimate.high > last)):
            if is_beyond:  # 4 and 5 are carets to the left and right, their tips at the point
                ax.plot(
                    [edge],
                    [y],
                    marker=marker_there,
                    ms=3.6,
                    mew=0,
                    color=color,
                    zorder=3.4,
                    transform=ax.get_yaxis_transform(),
                    gid=f"beyond:{name}",
                )
    if np.isfinite(estimate.mean):
        ax.plot(
            [estimate.mean], [y], marker=marker, ms=size, mfc=face, mec=color, mew=0.8, zorder=3, gid=f"mean:{name}"
        )


def set_value_axis(
    ax: Axes,
    values: np.ndarray,
    estimates: list[Estimate],
    levels: list[float],
    *,
    is_log: bool = False,
) -> None:
    """Scale, limits and ticks: runs, means and lines are inside, intervals as far as they do not dwarf those.

    Parameters
    ----------
    ax
        Its x-axis is set.
    values
        Of all runs.
    estimates
        Means and intervals.
    levels
        Where lines are drawn; NaN for none.
    is_log
        Whether the axis is logarithmic.
    """
    from matplotlib.ticker import NullFormatter

    from ._value_ticks import LogLabels, RoundNumbers

    if is_log:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(LogLabels())
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(RoundNumbers(ax, is_log=is_log))
    ax.set_xlim(_limits(values, estimates, levels, is_log=is_log))


def _limits(
    values: np.ndarray,
    estimates: list[Estimate],
    levels: list[float],
    *,
    is_log: bool,
) -> tuple[float, float]:
    inside = np.concatenate([values, [estimate.mean for estimate in estimates], levels])
    ends = np.array([bound for estimate in estimates for bound in estimate[1:]])
    inside, ends = inside[np.isfinite(inside)], ends[np.isfinite(ends)]
    if not len(inside):
        return (1.0, 10.0) if is_log else (0.0, 1.0)
    if is_log:
        inside, ends = np.log(np.maximum(inside, 1e-6)), np.log(np.maximum(ends, 1e-300))
    low, high = float(inside.min()), float(inside.max())
    # Values that hardly differ are not blown up to fill the axis.
    least = 0.2 if is_log else max(0.01 * max(abs(low), abs(high)), 1e-4)
    missing = max(least - (high - low), 0.0)
    low, high = low - missing / 2, high + missing / 2
    reach = _PAST_THE_DOTS * (high - low)
    ends = np.clip(ends, low - reach, high + reach)
    low, high = float(min([low, *ends])), float(max([high, *ends]))
    margin = 0.06 * (high - low)
    bounds = np.array([low - margin, high + margin])
    first, last = np.exp(bounds) if is_log else bounds
    return float(first), float(last)


def shortfall(runs: pd.DataFrame, metric: str) -> str:
    """What there is to say of the runs of one method on one dataset that have no value; empty if there is nothing."""
    if not len(runs):
        return "not run"
    if n_failed := int((runs["error"] != "").sum()):
        return f"{n_failed} failed"
    return "no value" if runs[metric].isna().all() else ""


def note_beside(ax: Axes, y: float, text: str, taken: np.ndarray) -> None:
    """Write a few words in a row, at that end of the axes which is farther from the values ``taken``."""
    taken = taken[np.isfinite(taken)]
    pixels = ax.transData.transform(np.column_stack([taken, np.full(len(taken), y)]))
    places = ax.transAxes.inverted().transform(pixels)[:, 0] if len(taken) else np.zeros(1)
    at_left = places.min() > 1 - places.max()
    ax.annotate(
        text,
        xy=(0.0 if at_left else 1.0, y),
        xycoords=("axes fraction", "data"),
        xytext=(3 if at_left else -3, 0),
        textcoords="offset points",
        ha="left" if at_left else "right",
        va="center",
        fontsize=SMALL,
        fontstyle="italic",
        color=GREY,
        zorder=4,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )
