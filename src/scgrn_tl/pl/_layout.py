"""Where the nodes of a network go: the same places every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["network_layout", "push_apart"]

_SMALL = 30
"""Nodes; up to so many there is room enough as they lie."""
_KAMADA_KAWAI_NODES = 100
"""Above this, stress takes long and presses hubs together; a component is laid out by ForceAtlas2."""
_EVENNESS = 0.6
"""How far a component fills its disc evenly: 0 leaves distances from the centre, 1 makes them those of a disc."""


def network_layout(graph: nx.DiGraph, aspect: float = 1.0) -> dict[str, np.ndarray]:
    """Positions of the nodes in a box ``aspect`` wide and 1 high.

    Each weakly connected component is laid out by Kamada & Kawai's stress (1989), which shows graph distance as
    distance; a large one by ForceAtlas2 (Jacomy et al. 2014), which gathers the targets of a hub. All but small ones
    are spread over their disc. Turned to lie flat, components are packed in rows, the largest first.
    """
    import networkx as nx

    components = sorted(nx.weakly_connected_components(graph), key=lambda nodes: (-len(nodes), min(nodes)))
    boxes = []
    for component in components:
        nodes = sorted(component)
        boxes.append((nodes, _component_layout(graph.subgraph(component).to_undirected(), nodes)))
    return _pack(boxes, aspect)


def _component_layout(graph: nx.Graph, nodes: list[str]) -> np.ndarray:
    """``float[n, 2]``, centred, with edges about one unit long."""
    import networkx as nx

    if len(nodes) == 1:
        return np.zeros((1, 2))
    ordered = nx.Graph()  # a subgraph's order of nodes follows a set: not the same from run to run
    ordered.add_nodes_from(nodes)
    ordered.add_edges_from(sorted(tuple(sorted(edge)) for edge in graph.edges))
    if len(nodes) <= _KAMADA_KAWAI_NODES:
        start = nx.spring_layout(ordered, seed=0, iterations=30, method="force") if len(nodes) > _SMALL else None
        placed = nx.kamada_kawai_layout(ordered, pos=start)
    else:
        placed = nx.forceatlas2_layout(ordered, seed=0, max_iter=100)
    xy = np.array([placed[node] for node in nodes])
    xy -= xy.mean(axis=0)
    if len(nodes) > _SMALL:
        xy = _spread_evenly(xy)
    _, _, axes = np.linalg.svd(xy, full_matrices=False)
    axes *= np.where(axes[:, [0]] + axes[:, [1]] < 0, -1.0, 1.0)  # an axis has no sign of its own: fix one
    xy = xy @ axes.T
    ends = np.array([[nodes.index(s), nodes.index(t)] for s, t in ordered.edges])
    length = np.median(np.linalg.norm(xy[ends[:, 0]] - xy[ends[:, 1]], axis=1))
    scaled: np.ndarray = xy / max(float(length), 1e-9)
    return scaled


def _spread_evenly(xy: np.ndarray) -> np.ndarray:
    """Draw far nodes in and push a dense middle out; directions from the centre stay, and who is farther out."""
    radius = np.linalg.norm(xy, axis=1)
    in_disc = np.sqrt(
        (np.argsort(np.argsort(radius, kind="stable")) + 0.5) / len(xy)
    )  # were all as dense as each other
    wanted = _EVENNESS * in_disc + (1 - _EVENNESS) * radius / max(float(radius.max()), 1e-9)
    spread: np.ndarray = xy * (wanted / np.maximum(radius, 1e-9))[:, None]
    return spread


def _for_as_much_room(xy: np.ndarray, margin: float) -> float:
    """The factor that gives a node of every component the same room: few nodes do not take that of many."""
    area = float((np.ptp(xy, axis=0) + 2 * margin).prod())
    return float(np.sqrt(3 * len(xy) / area))


def _pack(boxes: list[tuple[list[str], np.ndarray]], aspect: float) -> dict[str, np.ndarray]:
    margin = 0.6
    boxes = [(nodes, xy * _for_as_much_room(xy, margin)) for nodes, xy in boxes]
    corners = [(xy.min(axis=0) - margin, xy.max(axis=0) + margin) for _, xy in boxes]
    sizes = np.array([high - low for low, high in corners])
    width = max(float(sizes[:, 0].max()), float(np.sqrt(sizes.prod(axis=1).sum() * aspect)))
    rows: list[list[int]] = [[]]
    used = 0.0
    for index in range(len(boxes)):
        if rows[-1] and used + sizes[index, 0] > width * 1.05:
            rows.append([])
            used = 0.0
        rows[-1].append(index)
        used += sizes[index, 0]
    placed: dict[str, np.ndarray] = {}
    top = 0.0
    for row in rows:
        height = float(sizes[row, 1].max())
        left = (width - float(sizes[row, 0].sum())) / 2
        for index in row:
            nodes, xy = boxes[index]
            shift = np.array([left, top - (height + sizes[index, 1]) / 2]) - corners[index][0]
            placed.update(zip(nodes, xy + shift, strict=True))
            left += float(sizes[index, 0])
        top -= height
    xy = np.array(list(placed.values()))
    low, span = xy.min(axis=0), np.maximum(np.ptp(xy, axis=0), 1e-9)
    span = np.where(span < 1e-6, 1.0, span)
    xy = (xy - low) / span * np.array([aspect, 1.0])
    return dict(zip(placed, xy, strict=True))


def push_apart(xy: np.ndarray, radii: np.ndarray, *, gap: float = 2.0, n_steps: int = 60) -> np.ndarray:
    """Move discs that overlap away from one another, each by half of what is missing, until none does or steps run out.

    Parameters
    ----------
    xy
        ``float[n, 2]``, centres.
    radii
        ``float[n]``, in the same unit.
    gap
        Least distance between two rims.
    """
    xy = xy.copy()
    wanted = radii[:, None] + radii[None, :] + gap
    np.fill_diagonal(wanted, 0.0)
    for _ in range(n_steps):
        offset = xy[:, None, :] - xy[None, :, :]  # (n, n, 2)
        distance = np.linalg.norm(offset, axis=2)
        lacking = np.maximum(wanted - distance, 0.0)
        if not lacking.any():
            break
        together = distance < 1e-9
        # Two nodes in one spot part along a direction of their own, the same every time.
        angle = 2.399963 * np.arange(len(xy))[:, None]
        away = np.stack([np.cos(angle), np.sin(angle)], axis=-1) - np.stack([np.cos(angle.T), np.sin(angle.T)], axis=-1)
        unit = np.where(together[..., None], away, offset / np.maximum(distance, 1e-9)[..., None])
        xy += 0.5 * (lacking[..., None] * unit).sum(axis=1)
    return xy
