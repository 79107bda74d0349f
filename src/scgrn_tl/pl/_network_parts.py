"""What a drawn network is put together from: edges, nodes, and the names that there is room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ._labels import place_labels
from ._palette import BLACK, BLUE, GREEN, GREY, PURPLE, SKY_BLUE, VERMILLION
from ._quiet_axes import DOTS, SMALL

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    import networkx as nx
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.typing import LineStyleType

    from ._halo_text import HaloText

__all__ = ["BAR", "COLORS", "CROWDED", "NOT_PREDICTED", "draw_edges", "draw_labels", "draw_nodes", "line_style"]

COLORS: Final[Mapping[str, str]] = {
    "predicted": BLACK,
    "found": BLACK,
    "only_here": VERMILLION,
    "new": BLUE,
    "missed": GREY,
    "only_compare": PURPLE,
}
NOT_PREDICTED: Final = frozenset({"missed", "only_compare"})
BAR: Final = "|-|,widthA=0,widthB=0.3"
CROWDED: Final = 150
"""Of more edges than that, structure is drawn: lines are thin and let others through, and few genes are named."""

_ARROW = "-|>,head_length=0.45,head_width=0.2"
_NEW: LineStyleType = (0, (5.0, 1.4))
_ONLY_COMPARE: LineStyleType = (0, (3.0, 1.2, 1.0, 1.2))
_ALWAYS_NAMED = 20
"""Regulators, of a crowded network."""
_TARGET_NAMES, _TARGET_NAMES_OF_CROWD = 50, 12
_SMALLER = SMALL - 1
_HINTING = 1.07
"""Letters are set wider or narrower than here when a figure is saved in another resolution."""


def line_style(kind: str) -> LineStyleType:
    """How a line of an edge is broken, so that kinds are told apart without colour."""
    return {"new": _NEW, "missed": DOTS, "only_compare": _ONLY_COMPARE}.get(kind, "solid")


def draw_edges(
    ax: Axes,
    edges: pd.DataFrame,
    position: Mapping[str, np.ndarray],
    radius: Mapping[str, float],
    *,
    squares: Container[str],
    directed: bool,
) -> None:
    """Draw a patch for each edge, from rim to rim of its nodes; a broken line has its tip apart, which is not broken.

    Parameters
    ----------
    ax
        Its data are typographic points.
    edges
        With ``source``, ``target``, ``sign`` and ``kind``.
    position, radius
        Of each node, in points.
    squares
        Which nodes are squares; the others are discs.
    directed
        Whether edges have a tip.
    """
    from matplotlib.patches import FancyArrowPatch

    drawn = set(zip(edges["source"], edges["target"], strict=True))
    for source, target, sign, kind in edges[["source", "target", "sign", "kind"]].itertuples(index=False):
        style = line_style(kind)
        bend = 0.18 if (target, source) in drawn else 0.0  # two edges between the same genes stay apart
        start, end = position[source], position[target]
        control = (start + end) / 2 + bend * (end - start)[::-1] * np.array([1, -1])
        start_gap = _rim(control - start, radius[source], is_square=source in squares)
        end_gap = _rim(end - control, radius[target], is_square=target in squares)
        end_gap += 1.2 if sign < 0 else 0.5 if directed else 0.0
        look = _look(kind, crowded=len(edges) > CROWDED)
        tip = BAR if sign < 0 else _ARROW
        tip_apart = directed and style != "solid"
        ax.add_artist(
            FancyArrowPatch(
                tuple(start),
                tuple(end),
                arrowstyle="-" if tip_apart or not directed else tip,
                linestyle=style,
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=start_gap,
                shrinkB=end_gap + (0.4 * look["mutation_scale"] if tip_apart else 0.0),
                gid=f"{kind}:{source}{'->' if directed else '--'}{target}",
                **look,
            )
        )
        if tip_apart:
            along = (end - control) / max(float(np.linalg.norm(end - control)), 1e-9)
            at = end - along * end_gap
            ax.add_artist(
                FancyArrowPatch(tuple(at - along), tuple(at), arrowstyle=tip, shrinkA=0, shrinkB=0, gid="tip", **look)
            )


def _rim(direction: np.ndarray, radius: float, *, is_square: bool) -> float:
    """How far from its centre a node ends in a direction."""
    length = float(np.linalg.norm(direction))
    return radius * length / float(np.abs(direction).max()) if is_square and length > 0 else radius


def _look(kind: str, *, crowded: bool) -> dict[str, Any]:
    not_predicted, stands_out = kind in NOT_PREDICTED, kind in {"only_here", "only_compare"}
    return {
        "mutation_scale": 3.6 if crowded else 6.5,
        "color": COLORS[kind],
        "linewidth": (0.4 if crowded else 0.8) * (1.25 if stands_out and not not_predicted else 1.0),
        "alpha": (0.35 if not_predicted else 0.45) if crowded else 0.95,
        "capstyle": "butt",
        "joinstyle": "miter",
        "zorder": 1.0 if not_predicted else 1.5 if stands_out else 1.25,
    }


def draw_nodes(ax: Axes, xy: np.ndarray, radii: np.ndarray, is_tf: np.ndarray) -> None:
    """Squares for regulators, discs for others; a radius is half a side, in points."""
    for mask, marker, color, name in ((~is_tf, "o", SKY_BLUE, "targets"), (is_tf, "s", GREEN, "regulators")):
        if mask.any():
            x, y = xy[mask].T
            ax.scatter(
                x,
                y,
                s=(2 * radii[mask]) ** 2,
                marker=marker,
                c=color,
                edgecolors="white",
                linewidths=0.5,
                zorder=3,
                gid=name,
            )


def draw_labels(
    ax: Axes,
    graph: nx.DiGraph,
    n_edges: Mapping[str, int],
    xy: np.ndarray,
    radii: np.ndarray,
    is_tf: np.ndarray,
    *,
    page: tuple[float, float],
    n_targets: int | None,
) -> None:
    """Name the nodes, none over another where that can be.

    Parameters
    ----------
    ax
        Its data are typographic points, and it has its final size.
    graph
        Its nodes are in the order of the arrays below.
    n_edges
        Of each node; those with the most come first.
    xy, radii
        Places and radii of the nodes, in points.
    is_tf
        ``bool[n]``, which are regulators. They are named in any case; of a crowded network, the twenty with the most
        edges are, and others where there is room.
    page
        Width and height, in points.
    n_targets
        How many others are named at most: 50, and 12 of a crowded network, if ``None``.
    """
    nodes, in_degree = list(graph), dict(graph.in_degree)
    crowded = graph.number_of_edges() > CROWDED
    if n_targets is None:
        n_targets = _TARGET_NAMES_OF_CROWD if crowded else _TARGET_NAMES
    order = sorted(
        range(len(nodes)), key=lambda at: (not is_tf[at], -n_edges[nodes[at]], -in_degree[nodes[at]], nodes[at])
    )[: int(is_tf.sum()) + n_targets]
    required = is_tf.copy()
    required[order[_ALWAYS_NAMED:]] &= not crowded
    texts, sizes = {}, np.zeros((len(nodes), 2))
    points_per_pixel = 72 / ax.figure.dpi
    for at in order:
        texts[at] = _name(ax, nodes[at], xy[at], is_tf=bool(is_tf[at]), is_large=bool(required[at]))
        box = texts[at].get_window_extent()
        sizes[at] = np.array([box.width * _HINTING, box.height]) * points_per_pixel + 0.6
    place = dict(zip(nodes, xy, strict=True))
    segments = np.array([[*place[source], *place[target]] for source, target in graph.edges])
    centres = place_labels(xy, radii, sizes, required, order=order, segments=segments, bounds=page)
    for at, text in texts.items():
        if np.isnan(centres[at]).any():
            text.remove()
        else:
            text.set_position(tuple(centres[at]))


def _name(ax: Axes, name: str, at: np.ndarray, *, is_tf: bool, is_large: bool) -> HaloText:
    from ._halo_text import HaloText

    text = HaloText(
        float(at[0]),
        float(at[1]),
        name,
        halo=3.0 if is_tf else 2.0,
        ha="center",
        va="center",
        fontsize=SMALL if is_large else _SMALLER,
        fontweight="bold" if is_tf else "normal",
        fontstyle="normal" if is_tf else "italic",
        color=BLACK,
        zorder=5 if is_tf else 4,
        clip_on=False,
    )
    ax.add_artist(text)
    return text
