"""What the plots of results have in common: plain axes, small type, a legend that covers nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from ._palette import BLACK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = ["COLUMN", "DASHES", "DOTS", "PAGE", "SMALL", "TEXT", "TITLE", "legend_below", "quiet", "warn_if_cut"]

LOGGER = logging.getLogger(__name__)

COLUMN: Final = 3.4
PAGE: Final = 7.0
"""Inches: the width of one column of a journal, and of its page."""

TITLE: Final = 8.0
TEXT: Final = 7.0
SMALL: Final = 6.5
"""Points."""

_GAP = 1.4
"""Between columns of a legend, in sizes of its type."""

DASHES: Final = (0, (4.0, 1.6))
DOTS: Final = (0, (1.0, 1.6))


def quiet(ax: Axes) -> None:
    """Two thin spines, thin ticks, small type."""
    for side, spine in ax.spines.items():
        spine.set_visible(side in {"left", "bottom"})
        spine.set_linewidth(0.6)
    ax.tick_params(width=0.6, length=2.5, pad=2.0, labelsize=TEXT)
    ax.tick_params(which="minor", width=0.4, length=1.5, labelsize=SMALL)
    ax.xaxis.label.set_fontsize(TEXT)
    ax.yaxis.label.set_fontsize(TEXT)


def legend_below(axes: Sequence[Axes], handles: Sequence[Artist], *, title: str = "") -> float:
    """A legend under everything, in as many columns as there is room for.

    Parameters
    ----------
    axes
        The axes that the legend explains. It goes under the figure if that has no others and lays itself out, else
        under the last of these.
    handles
        What is in it.
    title
        Above the entries.

    Returns
    -------
    Its height in inches, about; 0 without handles.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.transforms import ScaledTranslation

    if not handles:
        return 0.0
    ax = axes[-1]
    figure = ax.figure
    has_others = set(figure.axes) != set(axes)
    under_figure = not has_others and isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine)
    box = figure.bbox if under_figure else ax.get_window_extent()
    points = 72 / figure.figure.dpi * box.width + _GAP * SMALL  # none follows the last column
    widths = [_width(str(handle.get_label())) for handle in handles]
    n_columns = len(handles) if sum(widths) < points else max(1, int(points / max(widths)))
    look = {
        "handles": list(handles),
        "ncols": n_columns,
        "title": title or None,
        "title_fontsize": SMALL,
        "fontsize": SMALL,
        "labelcolor": BLACK,
        "frameon": False,
        "handlelength": 2.0,
        "columnspacing": _GAP,
        "labelspacing": 0.35,
        "borderaxespad": 0.3,
    }
    if under_figure:
        figure.legend(loc="outside lower center", **look)
    else:
        # A fixed way down, past tick labels and the axis label, however large the axes will be.
        down = ScaledTranslation(0, -24 / 72, figure.dpi_scale_trans)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), bbox_transform=ax.transAxes + down, **look)
    n_lines = -(-len(handles) // n_columns) + bool(title)
    return (1.4 * n_lines + 0.8) * SMALL / 72


def _width(label: str) -> float:
    """About how many points an entry of a legend takes, with its line and a gap; capitals and digits are wide."""
    n_wide = sum(letter.isupper() or letter.isdigit() for letter in label)
    return (0.52 * len(label) + 0.12 * n_wide + 4.5) * SMALL


def warn_if_cut(axes: Sequence[Axes]) -> None:
    """Log what to do where something around axes that were given reaches out of a figure without a layout."""
    root = axes[0].figure.figure
    if root.get_layout_engine() is not None:
        return
    page = root.bbox.padded(1.0)
    around = [box for ax in axes if (box := ax.get_tightbbox()) is not None]
    if any(not (page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1) for box in around):
        LOGGER.warning(
            "Names or the legend reach out of the figure and will be cut. Make it with layout='constrained', or save "
            "it with bbox_inches='tight'."
        )
