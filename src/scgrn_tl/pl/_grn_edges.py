"""A network as a drawing: which edges were found, missed, or are new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.get._slots import read_network

from ._edge_kinds import edges_to_draw, is_directed
from ._layout import network_layout, push_apart
from ._network_legend import add_network_legend
from ._network_parts import draw_edges, draw_labels, draw_nodes
from ._quiet_axes import COLUMN, PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from mudata import MuData

    from scgrn_tl.get._slots import Threshold

__all__ = ["grn_edges"]

_POINTS_PER_INCH = 72.0
_RIM = np.array([22.0, 12.0])
"""Points that the margin of the axes leaves for names."""


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
    n_target_labels: int | None = None,
    positions: Mapping[str, Sequence[float]] | None = None,
    legend: bool = True,
    ax: Axes | None = None,
    modality: str = "rna",
) -> Axes:
    """Draw the most probable edges of a network, beside what is known and what another model finds.

    Figure 3 of Kommu et al. (2024). Regulators are green squares, the larger the more of the edges shown start there;
    other genes are blue discs. An edge is

    - solid black: predicted, and in the reference (by both models, if there are two; plainly predicted without either);
    - solid vermillion: likewise, but the network ``compare`` does not predict it;
    - dashed blue: predicted, not in the reference;
    - dotted grey: in the reference, not predicted;
    - purple, dashed and dotted: in the reference, not predicted here, but by the network ``compare``.

    An arrow ends each edge, a bar where the regulator is known to repress. Edges of a method that gives no direction
    (``directed`` of :func:`scgrn_tl.methods.show`) are plain lines, one for each pair of genes, in whichever direction
    the reference has it. Kinds are told apart with any colour vision, and without colour. Regulators are always named,
    other genes where there is room for the name.

    Of more than 150 edges, structure is drawn rather than every edge: lines are thin and let others shine through, and
    only the twenty regulators with the most edges are sure of a name.

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
        Name at most that many genes that are no regulators: those with the most edges shown. 50 if ``None``, or 12 of
        more than 150 edges.
    positions
        Where genes stand, ``{gene: (x, y)}`` in any unit, as of a layout of :mod:`networkx`. What it spans fills the
        axes, whichever genes are drawn: in figures of one size, a gene has one place. Found from the edges if ``None``.
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
        If no edge reaches the threshold, a name is unknown, the reference has no edge of a scored regulator, or
        ``positions`` lacks a gene that is drawn.
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
    nodes = list(graph)
    given = None if positions is None else _given_places(positions, nodes)
    network = read_network(adata, key)
    is_tf = np.isin(nodes, list(set(network.genes[network.is_regulator]) | set(edges["source"])))
    n_edges = dict(graph.out_degree if directed else graph.degree)
    radii = _radii(n_edges, is_tf)

    if ax is None:
        _, ax = plt.subplots(figsize=_figure_size(len(nodes)), layout="constrained")
    if legend:
        add_network_legend(
            ax,
            edges,
            n_missed=n_missed,
            key=key,
            compare=compare,
            with_reference=reference is not None,
            has_targets=not is_tf.all(),
            sizes=_sizes(np.array([n_edges[node] for node in nodes])[is_tf], radii[is_tf]),
            directed=directed,
        )
    ax.set_axis_off()
    width, height = _size_in_points(ax, ax.figure.figure)  # of the root, also of a subfigure
    if given is None:
        placed = network_layout(graph, aspect=width / height)
        xy = _fit(np.array([placed[node] for node in nodes]), radii, width, height)
    else:
        xy = _RIM + given * (np.array([width, height]) - 2 * _RIM)
    # Data are typographic points: what is placed here in points stands where it should.
    ax.set_xlim(0, width)
    ax.set_ylim(0, height)
    draw_edges(
        ax,
        edges,
        dict(zip(nodes, xy, strict=True)),
        dict(zip(nodes, radii, strict=True)),
        squares={node for node, square in zip(nodes, is_tf, strict=True) if square},
        directed=directed,
    )
    draw_nodes(ax, xy, radii, is_tf)
    draw_labels(ax, graph, n_edges, xy, radii, is_tf, page=(width, height), n_targets=n_target_labels)
    return ax


def _given_places(positions: Mapping[str, Sequence[float]], nodes: list[str]) -> np.ndarray:
    """``float[n, 2]`` in [0, 1]: places of the nodes in the box that all places span."""
    if missing := [node for node in nodes if node not in positions]:
        msg = (
            f"positions has no place for {missing[0]!r}; it lacks {len(missing):,} of the {len(nodes):,} genes drawn. "
            "Give all of them one, or leave positions=None."
        )
        raise ArgumentError(msg)
    try:
        places = np.array([[float(x), float(y)] for x, y in positions.values()])
    except (TypeError, ValueError):
        places = np.full((1, 2), np.nan)
    if not np.isfinite(places).all():
        msg = "Give positions two finite numbers for each gene: {gene: (x, y)}."
        raise ArgumentError(msg)
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    drawn = np.array([positions[node] for node in nodes], dtype=float)
    return np.where(span < 1e-9, 0.5, (drawn - low) / np.where(span < 1e-9, 1.0, span))


def _sizes(n_edges: np.ndarray, radii: np.ndarray) -> list[tuple[int, float]]:
    """Edges and radius of the smallest and of the largest regulator, or of all where they are alike."""
    pairs = {(int(n_edges[at]), float(radii[at])) for at in (n_edges.argmin(), n_edges.argmax())}
    return sorted(pairs)


def _figure_size(n_nodes: int) -> tuple[float, float]:
    """Inches: one column of a journal, a column and a half, or its full width."""
    if n_nodes <= 25:
        return COLUMN, 3.3
    if n_nodes <= 60:
        return 4.6, 4.5
    return PAGE, 6.6


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
    return np.where(is_tf, np.sqrt(2.7**2 + (5.7**2 - 2.7**2) * share), small)


def _fit(xy: np.ndarray, radii: np.ndarray, width: float, height: float) -> np.ndarray:
    """Spread over the page, with a rim for labels, and part nodes that touch."""
    page = np.array([width, height])

    def spread(points: np.ndarray) -> np.ndarray:
        low, span = points.min(axis=0), np.ptp(points, axis=0)
        scaled = (points - low) / np.where(span < 1e-9, 1.0, span) * (page - 2 * _RIM) + _RIM
        return np.where(span < 1e-9, page / 2, scaled)

    return spread(push_apart(spread(xy), radii))
