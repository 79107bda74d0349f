"""The legend of a drawn network: kinds of nodes and edges, how many of each, and what a size stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._edge_kinds import KINDS
from ._network_parts import BAR, COLORS, NOT_PREDICTED, line_style
from ._palette import BLACK, GREEN, SKY_BLUE
from ._quiet_axes import SMALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.patches import FancyArrowPatch

__all__ = ["add_network_legend"]


def add_network_legend(
    ax: Axes,
    edges: pd.DataFrame,
    *,
    n_missed: int,
    key: str,
    compare: str | None,
    with_reference: bool,
    has_targets: bool,
    sizes: Sequence[tuple[int, float]],
    directed: bool,
) -> None:
    """Put the legend below the axes.

    Parameters
    ----------
    ax
        Where the network is drawn, or will be.
    edges
        With ``kind`` and ``sign``.
    n_missed
        How many edges are missed in all; the legend says so where not all of them are drawn.
    key, compare
        Names of the network and of the one that it is held against.
    with_reference, has_targets
        Whether there is a reference, and genes that are no regulators.
    sizes
        Edges and radius, in points, of the least and of the best connected regulator; one pair where they are alike.
    directed
        Whether the size of a regulator stands for its targets, or for its edges.
    """
    from matplotlib.legend_handler import HandlerPatch, HandlerTuple
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch

    square: dict[str, Any] = {"ls": "none", "marker": "s", "mfc": GREEN, "mec": "white", "mew": 0.5}
    disc: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 5, "mfc": SKY_BLUE, "mec": "white", "mew": 0.5}
    entries: list[tuple[Artist | tuple[Artist, ...], str]] = [
        (
            tuple(Line2D([], [], ms=2 * radius, **square) for _, radius in sizes),
            f"regulator ({_span([number for number, _ in sizes], 'target' if directed else 'edge')})",
        )
    ]
    if has_targets:
        entries.append((Line2D([], [], **disc), "target"))
    entries += [
        (Line2D([], [], color=COLORS[kind], lw=1.2, ls=line_style(kind)), words)
        for kind, words in _words(edges, n_missed, key, compare, with_reference=with_reference).items()
    ]
    if (edges["sign"] < 0).any():
        entries.append((FancyArrowPatch((0, 0), (1, 0), arrowstyle=BAR, color=BLACK, lw=1.0), "represses"))
    handles, labels = zip(*entries, strict=True)
    ax.legend(
        handles,
        labels,
        handler_map={FancyArrowPatch: HandlerPatch(patch_func=_bar_handle), tuple: HandlerTuple(ndivide=None, pad=0.7)},
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=2,
        frameon=False,
        fontsize=SMALL,
        handlelength=2.8,
        columnspacing=1.2,
        labelspacing=0.5,
        borderaxespad=0.2,
    )


def _span(numbers: Sequence[int], noun: str) -> str:
    least, most = numbers[0], numbers[-1]
    span = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"{span} {noun}{'' if least == most == 1 else 's'}"


def _words(
    edges: pd.DataFrame, n_missed: int, key: str, compare: str | None, *, with_reference: bool
) -> dict[str, str]:
    """Kind → what the legend says of it, of the kinds that are drawn."""
    count = edges["kind"].value_counts()
    inside = "in reference" if with_reference else "predicted"
    words = {
        "predicted": "predicted",
        "found": inside if compare is None else f"{inside} by both" if not with_reference else f"{inside}, both",
        "only_here": f"{inside}, only {key}",
        "new": "not in reference",
        "missed": "missed",
        "only_compare": f"missed, found by {compare}",
    }
    said = {kind: f"{words[kind]} ({count[kind]:,})" for kind in KINDS if kind in count}
    not_drawn = n_missed - int(np.isin(edges["kind"], list(NOT_PREDICTED)).sum())
    if "missed" in said and not_drawn > 0:
        said["missed"] = f"missed ({count['missed']:,}; {not_drawn:,} more not drawn)"
    return said


def _bar_handle(*, width: float, height: float, **_: Any) -> FancyArrowPatch:
    from matplotlib.patches import FancyArrowPatch

    middle = height / 2
    return FancyArrowPatch((0, middle), (width, middle), arrowstyle=BAR, mutation_scale=9, shrinkA=0, shrinkB=0)
