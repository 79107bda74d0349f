"""A network as a drawing: which edges were found, missed, or are new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.get._slots import read_network

from ._edge_kinds import KINDS, edges_to_draw, is_directed
from ._labels import place_labels
from ._layout import network_layout, push_apart
from ._palette import BLACK, BLUE, GREEN, GREY, PURPLE, SKY_BLUE, VERMILLION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import networkx as nx
    import pandas as pd
    from anndata import AnnData
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import FancyArrowPatch
    from mudata import MuData

    from scgrn_tl.get._slots import Threshold

__all__ = ["grn_edges"]

_COLORS: Mapping[str, str] = {
    "predicted": BLACK,
    "found": BLACK,
    "only_here": VERMILLION,
    "new": BLUE,
    "missed": GREY,
    "only_compare": PURPLE,
}
_DOTTED = frozenset({"missed", "only_compare"})
_DOTS = (0, (1.0, 1.6))
_ARROW = "-|>,head_length=0.45,head_width=0.2"
_BAR = "|-|,widthA=0,widthB=0.3"

_POINTS_PER_INCH = 72.0


@typed_arguments
def grn_edges(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    top_n: int | None = 50,
    min_probability: Threshold = "auto",
    reference: Any = None,
    compare: str | None = None,
    n_target_labels: int = 50,
    legend: bool = True,
    ax: Axes | None = None,
    modality: str = "rna",
) -> Axes:
    """Draw the most probable edges of a network, beside what is known and what another model finds.

    Figure 3 of Kommu et al. (2024). Regulators are green squares, the larger the more of the edges shown start there;
    other genes are blue discs. An edge is

    - solid black: predicted, and in the reference (by both models, if there are two; plainly predicted without either);
    - solid vermillion: likewise, but the network ``compare`` does not predict it;
    - solid blue: predicted, not in the reference;
    - dotted grey: in the reference, not predicted;
    - dotted purple: in the reference, not predicted here, but by the network ``compare``.

    An arrow ends each edge, a bar where the regulator is known to repress. Edges of a method that gives no direction
    (``directed`` of :func:`scgrn_tl.methods.show`) are plain lines, one for each pair of genes, in whichever direction
    the reference has it. The colours are told apart with any colour vision. Regulators are always named, other genes
    where there is room for the name.

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    key
        Where the network is stored.
    tfs, targets
        Draw only edges out of these regulators, into these genes.
    top_n
        How many predicted edges to draw; all above the threshold if ``None``.
    min_probability
        From which probability on an edge counts as predicted; ``"auto"`` is 0.5, and ``None`` for networks of scores
        (then what is not drawn is not missed either, unless it has no score at all).
    reference
        What is known: ``"prior"`` (the prior the model was fitted with), a key of ``uns`` such as ``"ground_truth"``, a
        DataFrame with source and target columns, or anything else that :meth:`scgrn_tl.core.PriorNetwork.from_any`
        reads. Missed edges are those between the genes drawn; at most as many as predicted ones, the least probable
        first. The legend says so if there are more.
    compare
        Key of another network in ``varp``. It predicts an edge by the same threshold; if it holds scores and no
        probabilities, its best edges count, as many as this network predicts.
    n_target_labels
        Name at most that many genes that are no regulators: those with the most edges shown.
    legend
        Draw the legend below the axes.
    ax
        Where to draw; a new figure, larger for more edges, if ``None``. Labels are placed for the size it has now.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    The axes. Each edge is a :class:`matplotlib.patches.FancyArrowPatch` with the gid ``"<kind>:<source>-><target>"``,
    where ``<kind>`` is ``predicted``, ``found``, ``only_here``, ``new``, ``missed`` or ``only_compare``; without a
    direction ``--`` stands for ``->``.

    Raises
    ------
    MissingKeyError
        If no network is stored under ``key`` or ``compare``, or the reference is not there.
    ArgumentError
        If no edge reaches the threshold, a name is unknown, or the reference has no edge of a scored regulator.
    PriorError
        If the reference cannot be read.
    """
    import matplotlib.pyplot as plt
    import networkx as nx

    for name, number, least in (("top_n", top_n, 1), ("n_target_labels", n_target_labels, 0)):
        if number is not None and number < least:
            msg = f"{name} is a whole number of at least {least}, not {number!r}."
            raise ArgumentError(msg)
    adata = open_anndata(adata, modality=modality)
    directed = is_directed(adata, key)
    edges, n_missed = edges_to_draw(
        adata,
        key=key,
        tfs=tfs,
        targets=targets,
        top_n=top_n,
        min_probability=min_probability,
        reference=reference,
        compare=compare,
        directed=directed,
    )
    if not directed:
        edges["sign"] = 0  # a bar at one end would be a direction
    graph = nx.from_pandas_edgelist(edges, edge_attr=["kind", "sign", "probability"], create_using=nx.DiGraph)
    network = read_network(adata, key)
    regulators = set(network.genes[network.is_regulator]) | set(edges["source"])

    if ax is None:
        _, ax = plt.subplots(figsize=_figure_size(graph.number_of_nodes()), layout="constrained")
    figure = ax.figure.figure  # the root, also of a subfigure
    if legend:
        _add_legend(
            ax,
            edges,
            n_missed=n_missed,
            key=key,
            compare=compare,
            with_reference=reference is not None,
            has_targets=not regulators.issuperset(graph),
        )
    ax.set_axis_off()
    width, height = _size_in_points(ax, figure)

    nodes = list(graph)
    is_tf = np.array([node in regulators for node in nodes])
    n_edges = dict(graph.out_degree if directed else graph.degree)
    radii = _radii(n_edges, is_tf)
    placed = network_layout(graph, aspect=width / height)
    xy = _fit(np.array([placed[node] for node in nodes]), radii, width, height)
    # Data are typographic points: what is placed here in points stands where it should.
    ax.set_xlim(0, width)
    ax.set_ylim(0, height)
    places, sizes = dict(zip(nodes, xy, strict=True)), dict(zip(nodes, radii, strict=True))
    _draw_edges(ax, edges, places, sizes, directed=directed)
    _draw_nodes(ax, xy, radii, is_tf)
    _draw_labels(ax, graph, n_edges, xy, radii, is_tf, page=(width, height), n_targets=n_target_labels)
    return ax


def _figure_size(n_nodes: int) -> tuple[float, float]:
    """Inches: one column of a journal, a column and a half, or its full width."""
    if n_nodes <= 25:
        return 3.4, 3.3
    if n_nodes <= 60:
        return 4.6, 4.5
    return 7.0, 6.6


def _size_in_points(ax: Axes, figure: Figure) -> tuple[float, float]:
    figure.draw_without_rendering()  # lets a layout engine settle first
    box = ax.get_window_extent()
    scale = _POINTS_PER_INCH / figure.dpi
    return float(box.width * scale), float(box.height * scale)


def _radii(n_edges: Mapping[str, int], is_tf: np.ndarray) -> np.ndarray:
    """Points. The area of a regulator grows with its edges: those that start there, where they have a direction."""
    small = 2.6 if len(n_edges) <= 60 else 2.2 if len(n_edges) <= 150 else 1.8
    degree = np.array(list(n_edges.values()), dtype=float)
    share = degree / max(1.0, float(degree.max()))
    return np.where(is_tf, np.sqrt(3.2**2 + (7.0**2 - 3.2**2) * share), small)


def _fit(xy: np.ndarray, radii: np.ndarray, width: float, height: float) -> np.ndarray:
    """Spread over the page, with a rim for labels, and part nodes that touch."""
    rim = np.array([22.0, 12.0])
    page = np.array([width, height])

    def spread(points: np.ndarray) -> np.ndarray:
        low, span = points.min(axis=0), np.ptp(points, axis=0)
        scaled = (points - low) / np.where(span < 1e-9, 1.0, span) * (page - 2 * rim) + rim
        return np.where(span < 1e-9, page / 2, scaled)

    return spread(push_apart(spread(xy), radii))


def _draw_edges(
    ax: Axes,
    edges: pd.DataFrame,
    position: Mapping[str, np.ndarray],
    radius: Mapping[str, float],
    *,
    directed: bool,
) -> None:
    from matplotlib.patches import FancyArrowPatch

    drawn = set(zip(edges["source"], edges["target"], strict=True))
    crowded = len(edges) > 150
    scale = 4.2 if crowded else 6.5
    for source, target, sign, kind in edges[["source", "target", "sign", "kind"]].itertuples(index=False):
        dotted, stands_out = kind in _DOTTED, kind in {"only_here", "only_compare"}
        bend = 0.18 if (target, source) in drawn else 0.0  # two edges between the same genes stay apart
        start, end = position[source], position[target]
        end_gap = radius[target] + (1.2 if sign < 0 else 0.5 if directed else 0.0)
        look: dict[str, Any] = {
            "mutation_scale": scale,
            "color": _COLORS[kind],
            "linewidth": (0.45 if crowded else 0.8) * (1.25 if stands_out and not dotted else 1.0),
            "alpha": (0.5 if dotted else 0.75) if crowded else 0.95,
            "capstyle": "butt",
            "joinstyle": "miter",
            "zorder": 1.0 if dotted else 1.5 if stands_out else 1.25,
        }
        tip = _BAR if sign < 0 else _ARROW
        ax.add_patch(
            FancyArrowPatch(
                tuple(start),
                tuple(end),
                arrowstyle="-" if dotted or not directed else tip,
                linestyle=_DOTS if dotted else "solid",
                connectionstyle=f"arc3,rad={bend}",
                shrinkA=0.9 * radius[source],
                shrinkB=end_gap + (0.4 * scale if dotted and directed else 0.0),
                gid=f"{kind}:{source}{'->' if directed else '--'}{target}",
                **look,
            )
        )
        if dotted and directed:  # the tip apart, or its rim would be dotted too
            control = (start + end) / 2 + bend * (end - start)[::-1] * np.array([1, -1])
            along = (end - control) / max(float(np.linalg.norm(end - control)), 1e-9)
            at = end - along * end_gap
            tip_patch = FancyArrowPatch(tuple(at - along), tuple(at), arrowstyle=tip, shrinkA=0, shrinkB=0, **look)
            tip_patch.set_gid("tip")
            ax.add_patch(tip_patch)


def _draw_nodes(ax: Axes, xy: np.ndarray, radii: np.ndarray, is_tf: np.ndarray) -> None:
    for mask, marker, color, name in ((~is_tf, "o", SKY_BLUE, "targets"), (is_tf, "s", GREEN, "regulators")):
        if mask.any():
            side = 2 * radii[mask] * (1.0 if marker == "o" else 0.9)
            x, y = xy[mask].T
            ax.scatter(x, y, s=side**2, marker=marker, c=color, edgecolors="white", linewidths=0.5, zorder=3, gid=name)


def _draw_labels(
    ax: Axes,
    graph: nx.DiGraph,
    n_edges: Mapping[str, int],
    xy: np.ndarray,
    radii: np.ndarray,
    is_tf: np.ndarray,
    *,
    page: tuple[float, float],
    n_targets: int,
) -> None:
    from matplotlib.patheffects import withStroke

    nodes, in_degree = list(graph), dict(graph.in_degree)
    order = sorted(
        range(len(nodes)), key=lambda at: (not is_tf[at], -n_edges[nodes[at]], -in_degree[nodes[at]], nodes[at])
    )[: int(is_tf.sum()) + n_targets]
    texts, sizes = {}, np.zeros((len(nodes), 2))
    points_per_pixel = _POINTS_PER_INCH / ax.figure.dpi
    for at in order:
        text = ax.text(
            float(xy[at, 0]),
            float(xy[at, 1]),
            nodes[at],
            ha="center",
            va="center",
            fontsize=6.5 if is_tf[at] else 5.5,
            fontweight="bold" if is_tf[at] else "normal",
            fontstyle="normal" if is_tf[at] else "italic",
            color=BLACK,
            zorder=5 if is_tf[at] else 4,
            path_effects=[withStroke(linewidth=1.6, foreground="white")],
        )
        box = text.get_window_extent()
        sizes[at] = np.array([box.width, box.height]) * points_per_pixel + 0.6
        texts[at] = text
    place = dict(zip(nodes, xy, strict=True))
    segments = np.array([[*place[source], *place[target]] for source, target in graph.edges])
    centres = place_labels(xy, radii, sizes, is_tf, order=order, segments=segments, bounds=page)
    for at, text in texts.items():
        if np.isnan(centres[at]).any():
            text.remove()
        else:
            text.set_position(tuple(centres[at]))


def _add_legend(
    ax: Axes,
    edges: pd.DataFrame,
    *,
    n_missed: int,
    key: str,
    compare: str | None,
    with_reference: bool,
    has_targets: bool,
) -> None:
    from matplotlib.legend_handler import HandlerPatch
    from matplotlib.lines import Line2D
    from matplotlib.patches import FancyArrowPatch

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
    handles: list[Artist] = [
        Line2D([], [], ls="none", marker="s", ms=6, mfc=GREEN, mec="white", mew=0.5, label="regulator")
    ]
    if has_targets:
        handles.append(Line2D([], [], ls="none", marker="o", ms=5, mfc=SKY_BLUE, mec="white", mew=0.5, label="target"))
    n_drawn = int(edges["kind"].isin(_DOTTED).sum())
    for kind in KINDS:
        if kind not in count:
            continue
        label = f"{words[kind]} ({count[kind]:,})"
        if kind == "missed" and n_missed > n_drawn:
            label = f"missed ({count[kind]:,}; {n_missed - n_drawn:,} more not drawn)"
        style = _DOTS if kind in _DOTTED else "solid"
        handles.append(Line2D([], [], color=_COLORS[kind], lw=1.2, ls=style, label=label))
    if (edges["sign"] < 0).any():
        handles.append(FancyArrowPatch((0, 0), (1, 0), arrowstyle=_BAR, color=BLACK, lw=1.0, label="represses"))
    ax.legend(
        handles=handles,
        handler_map={FancyArrowPatch: HandlerPatch(patch_func=_bar_handle)},
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=2,
        frameon=False,
        fontsize=6.5,
        handlelength=1.8,
        columnspacing=1.2,
        labelspacing=0.35,
        borderaxespad=0.2,
    )


def _bar_handle(*, width: float, height: float, **_: Any) -> FancyArrowPatch:
    from matplotlib.patches import FancyArrowPatch

    middle = height / 2
    return FancyArrowPatch((0, middle), (width, middle), arrowstyle=_BAR, mutation_scale=9, shrinkA=0, shrinkB=0)
