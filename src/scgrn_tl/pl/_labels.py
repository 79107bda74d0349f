"""Labels beside points, none over another: the greedy solution of point-feature label placement.

Christensen, Marks & Shieber (1995), *ACM Transactions on Graphics* 14(3). Labels are placed one after another, the most
important first, each at the free place that costs least. No random numbers and no clock: the same picture every time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["place_labels"]

_N_ANGLES = 16
_NEAR = (1.6, 3.0)
_FAR = (1.6, 3.0, 4.5, 6.5, 9.5)
_FORBIDDEN = 1e3
"""Cost of a unit of area where nothing may be covered; a line crossed costs 1."""


def place_labels(
    anchors: np.ndarray,
    radii: np.ndarray,
    sizes: np.ndarray,
    required: np.ndarray,
    *,
    order: Sequence[int],
    segments: np.ndarray,
    bounds: tuple[float, float],
    gaps: Sequence[float] = _NEAR,
) -> np.ndarray:
    """Find a place for each label.

    Parameters
    ----------
    anchors
        ``float[n, 2]``, centre of each point, in any unit (here typographic points).
    radii
        ``float[n]`` of the points.
    sizes
        ``float[n, 2]``, width and height of each label.
    required
        ``bool[n]``: labels that are placed even if nothing is free, where they overlap least.
    order
        Which points get a label, the most important first.
    segments
        ``float[m, 4]``, lines ``x0, y0, x1, y1`` that labels had better not cover.
    bounds
        Width and height of the page; its corner is the origin.
    gaps
        Distances from its point at which a label is tried; larger ones for a label that has to be there.

    Returns
    -------
    ``float[n, 2]``, centre of each label; NaN where there was no place.
    """
    centres = np.full_like(anchors, np.nan, dtype=float)
    taken, leaders = np.empty((0, 4)), np.empty((0, 4))
    points = np.column_stack([anchors - radii[:, None], anchors + radii[:, None]])
    # A label that has to be there may cover small points sooner than stray from its own.
    yields = np.where(required, _FORBIDDEN, 1.0)
    for index in order:
        must = bool(required[index])
        candidates, reluctance = _candidates(anchors[index], float(radii[index]), sizes[index], _FAR if must else gaps)
        boxes = np.column_stack([candidates - sizes[index] / 2, candidates + sizes[index] / 2])  # (k, 4)
        outside = (np.maximum(-boxes[:, :2], 0) + np.maximum(boxes[:, 2:] - np.array(bounds), 0)).sum(axis=1)
        over_points = _overlap(boxes, points)
        over_labels = _overlap(boxes, taken).sum(axis=1) + outside * float(sizes[index].max())
        blocked = over_labels + over_points.sum(axis=1)
        cost = _FORBIDDEN * over_labels + over_points @ (yields if must else np.full_like(yields, _FORBIDDEN))
        cost += reluctance + (0.8 if must else 1.0) * _crossed(boxes, segments).sum(axis=1)
        ends = np.clip(anchors[index], boxes[:, :2], boxes[:, 2:])
        lines = np.column_stack([np.broadcast_to(anchors[index], ends.shape), ends])  # (k, 4), from point to label
        if not must:
            tangled = _tangled(boxes, lines, np.vstack([points[_apart(points, anchors[index])], taken]), leaders)
            cost += _FORBIDDEN * tangled
            blocked += tangled
        best = int(np.argmin(cost))
        if blocked[best] > 1e-6 and not must:
            continue
        centres[index] = candidates[best]
        taken, leaders = np.vstack([taken, boxes[best]]), np.vstack([leaders, lines[best]])
    return centres


def _candidates(
    anchor: np.ndarray, radius: float, size: np.ndarray, gaps: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Centres around a point, near ones first, and how little each is liked: right and left, then above and below."""
    angles = 2 * np.pi * np.arange(_N_ANGLES) / _N_ANGLES
    direction = np.column_stack([np.cos(angles), np.sin(angles)])
    # The label's box touches the point's rim: half its extent along that direction is added.
    half = np.minimum(
        size[0] / 2 / np.maximum(np.abs(direction[:, 0]), 1e-9), size[1] / 2 / np.maximum(np.abs(direction[:, 1]), 1e-9)
    )
    rings = [anchor + direction * (radius + gap + half)[:, None] for gap in gaps]
    dislike = 0.3 * np.abs(direction[:, 1]) + 0.1 * (direction[:, 0] < 0)
    return np.vstack(rings), np.concatenate([dislike + 0.8 * gap for gap in gaps])


def _apart(points: np.ndarray, anchor: np.ndarray) -> np.ndarray:
    """``bool[n]``, the boxes of points that an anchor is not in."""
    return np.asarray(((points[:, :2] > anchor) | (points[:, 2:] < anchor)).any(axis=1))


def _tangled(boxes: np.ndarray, lines: np.ndarray, obstacles: np.ndarray, leaders: np.ndarray) -> np.ndarray:
    """``bool[k]``: labels whose line passes a point, a label or the line of another, or which lie on such a line.

    What stands between a label and its point would be taken for what it names.
    """
    tangled = (
        _crossed(obstacles, lines).any(axis=0)
        | _crossed(boxes, leaders).any(axis=1)
        | _intersect(lines, leaders).any(axis=1)
    )
    return np.asarray(tangled)


def _intersect(lines: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``bool[k, m]``, which lines cross which: the ends of each are on either side of the other."""

    def side(line: np.ndarray, point: np.ndarray) -> np.ndarray:
        along, to = line[..., 2:] - line[..., :2], point - line[..., :2]
        turn: np.ndarray = np.sign(along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0])
        return turn

    one, other = lines[:, None], others[None]
    crossed = (side(one, other[..., :2]) * side(one, other[..., 2:]) < 0) & (
        side(other, one[..., :2]) * side(other, one[..., 2:]) < 0
    )
    return np.asarray(crossed)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``float[k, j]``, area that each of k boxes shares with each of j others."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    area: np.ndarray = np.maximum(high - low, 0).prod(axis=2)
    return area


def _crossed(boxes: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """``bool[k, m]``, which of m line segments pass through which of k boxes (slab test)."""
    if not (len(segments) and len(boxes)):
        return np.zeros((len(boxes), len(segments)), dtype=bool)
    start, step = segments[None, :, :2], (segments[:, 2:] - segments[:, :2])[None]  # (1, m, 2)
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    first = (boxes[:, None, :2] - start) / step
    second = (boxes[:, None, 2:] - start) / step
    enter = np.minimum(first, second).max(axis=2)
    leave = np.maximum(first, second).min(axis=2)
    crossed: np.ndarray = (enter <= leave) & (leave >= 0) & (enter <= 1)
    return crossed
