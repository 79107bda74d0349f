"""Rows of dots with intervals, one row a method: what the benchmark and the ablation are drawn with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._palette import GREY
from ._quiet_axes import SMALL

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

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
    filled: bool = True,
    size: float = 4.2,
) -> None:
    """A marker at the mean, a line over its interval, and, where they are few, a tick for every run.

    The artists have the gids ``mean:<name>``, ``interval:<name>`` and ``runs:<name>``.
    """
    if 1 < len(values) <= _MOST_DOTS:
        ax.plot(values, np.full(len(values), y), "|", ms=4.0, mew=0.5, color=color, zorder=2.2, gid=f"runs:{name}")
    if np.isfinite(estimate.low):
        ax.plot([estimate.low, estimate.high], [y, y], "-", color=color, lw=0.9, zorder=2.4, gid=f"interval:{name}")
    if np.isfinite(estimate.mean):
        face = color if filled else "white"
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
    possible: tuple[float, float] = (-np.inf, np.inf),
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
    possible
        Which values there can be: intervals do not widen the axis beyond.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = _limits(values, estimates, levels, is_log=is_log, possible=possible)
    if is_log:
        ax.set_xscale("log")
        within_a_decade_or_so = high < 30 * low
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if within_a_decade_or_so else (1,), numticks=5))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _on_a_log_axis(value)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    else:
        # Numbers of a narrow axis have many digits, so fewer of them have room.
        narrow = high - low < 0.05 * max(abs(low), abs(high))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=2 if narrow else 5, steps=[1, 2, 5, 10]))
    ax.set_xlim(low, high)


def _on_a_log_axis(value: float) -> str:
    power = round(np.log10(value))
    is_long = not -3 < power < 4 and np.isclose(value, 10.0**power)
    return f"$10^{{{power}}}$" if is_long else f"{value:,g}"


def _limits(
    values: np.ndarray,
    estimates: list[Estimate],
    levels: list[float],
    *,
    is_log: bool,
    possible: tuple[float, float],
) -> tuple[float, float]:
    inside = np.concatenate([values, [estimate.mean for estimate in estimates], levels])
    ends = np.clip([bound for estimate in estimates for bound in estimate[1:]], *possible)
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
