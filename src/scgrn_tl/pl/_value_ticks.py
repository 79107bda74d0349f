"""Ticks of a value axis: round numbers, as many as their labels have room for, all written in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import Formatter, Locator, MaxNLocator

from ._quiet_axes import TEXT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes

__all__ = ["LogLabels", "RoundNumbers"]

_MOST = 5
_DIGIT = 0.62
"""How wide a digit is, and, below, the least gap between two labels, both in sizes of the type."""
_GAP = 0.9
_NOT_PRINTED = str.maketrans("", "", "${}^\\")


class RoundNumbers(Locator):
    """At most five round numbers inside an x-axis, fewer where their labels would run into each other.

    Parameters
    ----------
    ax
        The axes; their width counts as it is when they are drawn.
    is_log
        Whether the axis is logarithmic.
    """

    def __init__(self, ax: Axes, *, is_log: bool) -> None:
        self.ax = ax
        self.is_log = is_log

    def __call__(self) -> list[float]:
        """Ticks between the limits of the axis."""
        return self.tick_values(*self.ax.get_xlim())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Ticks between two values."""
        low, high = min(vmin, vmax), max(vmin, vmax)
        choices = [inside for ticks in self._choices(low, high) if (inside := [t for t in ticks if low <= t <= high])]
        choices = [ticks for ticks in choices if len(ticks) <= _MOST] or [[low]]
        several = [ticks for ticks in choices if len(ticks) > 1]
        thinned = [ticks[::2] for ticks in several if len(ticks) > 2]
        with_room = (ticks for ticks in [*several, *thinned, *choices] if self._have_room(ticks, low, high))
        return next(with_room, choices[-1][:1])

    def _choices(self, low: float, high: float) -> Iterator[list[float]]:
        """From many ticks to few."""
        if not self.is_log or high < 5 * low:
            for n_bins in range(_MOST, 0, -1):
                yield list(np.asarray(MaxNLocator(nbins=n_bins, steps=[1, 2, 5, 10]).tick_values(low, high)))
        if self.is_log:
            powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
            yield [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
            for step in range(1, 7):
                yield [10.0**power for power in powers if power % step == 0]
            for factor in (2, 5):  # less round, but several where the axis holds one power of ten
                yield [factor * 10.0**power for power in powers]

    def _have_room(self, ticks: list[float], low: float, high: float) -> bool:
        points = self.ax.bbox.width * 72 / self.ax.figure.figure.dpi
        scale = np.log if self.is_log else np.asarray
        distances = np.diff(scale(ticks)) / np.ptp(scale([low, high])) * points
        labels = self.ax.xaxis.get_major_formatter().format_ticks(ticks)
        widths = np.array([_DIGIT * TEXT * len(label.translate(_NOT_PRINTED)) for label in labels])
        return bool((distances >= (widths[:-1] + widths[1:]) / 2 + _GAP * TEXT).all())


class LogLabels(Formatter):
    """Plain numbers, or powers of ten for all ticks if a plain one would be long."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """One value, such as that under the pointer."""
        return f"{x:,.10g}"

    def format_ticks(self, values: list[float]) -> list[str]:
        """The labels of all ticks."""
        powers = np.round(np.log10(values))
        if np.allclose(values, 10.0**powers, rtol=1e-6, atol=0) and (powers.min() < -3 or powers.max() > 4):
            return [f"$10^{{{power:.0f}}}$" for power in powers]
        return [self(value) for value in values]
