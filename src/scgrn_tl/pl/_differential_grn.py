"""Strengths of edges in two groups of cells against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, MissingKeyError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments

from ._labels import place_labels
from ._palette import BLACK, BLUE, GREY, PURPLE, VERMILLION
from ._quiet_axes import COLUMN, DOTS, SMALL, legend_below, quiet, warn_if_cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

__all__ = ["differential_grn"]

# Kind → marker, colour: told apart without colour too.
_KINDS = {"stronger": ("^", VERMILLION), "weaker": ("v", BLUE), "turned": ("D", PURPLE)}

_LONGEST_NAME = 28
"""Letters of a group's name on an axis."""

_GAPS = (1.0, 2.5, 5.0, 8.0, 12.0, 17.0, 23.0)
_LEADER = 3.0
_RADIUS = 2.5
"""Points: how far from its edge a name may stand; from the second distance on, a line leads to the edge."""

_TURNED = 1 / 3
"""Signs differ, and the smaller of the two strengths is at least this share of the larger."""


@typed_arguments
def differential_grn(
    adata: AnnData | MuData,
    *,
    key: str = "differential_grn",
    max_qvalue: float = 0.05,
    top_n: int = 10,
    ax: Axes | None = None,
    modality: str = "rna",
) -> Axes:
    """Draw how strong each edge is in one group of cells and in the other.

    An edge as strong in both lies on the dotted diagonal. Significant ones are triangles that point up where the edge
    is stronger in the group than in the reference, whatever its sign, down where it is weaker, and diamonds where
    activation has become repression or the other way round. Where none is significant, a line of text says so.

    Parameters
    ----------
    adata
        Annotated data with what :func:`scgrn_tl.tl.differential_grn` wrote, or a MuData whose ``modality`` has it.
    key
        Where that is stored in ``uns``.
    max_qvalue
        Edges of a q-value below are significant.
    top_n
        How many of these are named, the most significant first, as far as there is room; a thin line leads from a
        name to its edge where it does not stand beside it.
    ax
        Where to draw; a new figure of one column's width if ``None``.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    The axes.

    Raises
    ------
    MissingKeyError
        If nothing is stored under ``key``.
    ArgumentError
        If an argument cannot be used, or what is stored is no such table.
    """
    import matplotlib.pyplot as plt

    if not 0 <= max_qvalue <= 1:
        msg = f"max_qvalue={max_qvalue!r} is not between 0 and 1."
        raise ArgumentError(msg)
    if top_n < 0:
        msg = f"top_n is a whole number of at least 0, not {top_n!r}."
        raise ArgumentError(msg)
    record = _read(open_anndata(adata, modality=modality), key)
    stored = record["table"]
    table = stored.dropna(subset=["pvalue"]).reset_index(drop=True)
    kinds = _kinds(table, max_qvalue)
    if ax is None:
        _, ax = plt.subplots(figsize=(COLUMN, COLUMN + 0.3), layout="constrained")
    quiet(ax)
    _draw_points(ax, table, kinds)
    params = record["params"]
    ax.set_xlabel(f"strength in {_shortened(params['reference'])}")
    ax.set_ylabel(f"strength in {_shortened(params['group'])}")
    _add_legend(ax, kinds, max_qvalue)
    if not (kinds != "").any():
        _say_nothing_found(ax, max_qvalue, n_untested=len(stored) - len(table))
    _add_names(ax, table, kinds, int(top_n))
    warn_if_cut([ax])
    return ax


def _read(adata: AnnData, key: str) -> Mapping[str, Any]:
    if key not in adata.uns:
        stored = sorted(map(str, adata.uns))
        msg = f"Did not find .uns[{key!r}]. Run `sg.tl.differential_grn` first. Keys of .uns: {stored}."
        raise MissingKeyError(msg)
    record: Mapping[str, Any] = adata.uns[key]
    table = record.get("table") if hasattr(record, "get") else None
    if not isinstance(table, pd.DataFrame) or not {"strength", "strength_reference", "qvalue"} <= set(table):
        msg = f".uns[{key!r}] holds no table of `sg.tl.differential_grn`."
        raise ArgumentError(msg)
    return record


def _shortened(name: object) -> str:
    """A group's name with its middle left out where it is long: what tells two apart is often at the end."""
    text = str(name)
    if len(text) <= _LONGEST_NAME:
        return text
    end = _LONGEST_NAME // 3
    return f"{text[: _LONGEST_NAME - end - 1].rstrip()}…{text[-end:].lstrip()}"


def _kinds(table: pd.DataFrame, max_qvalue: float) -> np.ndarray:
    """``object[E]``: of a significant edge, what has become of it; ``""`` for all others."""
    strength, reference = table["strength"].to_numpy(), table["strength_reference"].to_numpy()
    size, before = np.abs(strength), np.abs(reference)
    turned = (strength * reference < 0) & (np.minimum(size, before) >= _TURNED * np.maximum(size, before))
    kinds = np.where(turned, "turned", np.where(size > before, "stronger", "weaker")).astype(object)
    kinds[(table["qvalue"] >= max_qvalue).to_numpy()] = ""
    return kinds


def _draw_points(ax: Axes, table: pd.DataFrame, kinds: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    x, y = table["strength_reference"].to_numpy(), table["strength"].to_numpy()
    reach = 1.08 * max(0.1, float(np.abs(np.concatenate([x, y])).max(initial=0.0)))
    ax.axhline(0, color=GREY, lw=0.4, zorder=0)
    ax.axvline(0, color=GREY, lw=0.4, zorder=0)
    ax.plot([-reach, reach], [-reach, reach], color=GREY, ls=DOTS, lw=0.8, zorder=1, gid="diagonal")
    others = kinds == ""
    ax.scatter(x[others], y[others], s=5, color=GREY, alpha=0.45, linewidths=0, zorder=2, gid="other")
    for kind, (marker, color) in _KINDS.items():
        here = kinds == kind
        ax.scatter(
            x[here], y[here], s=20, marker=marker, color=color, edgecolors="white", linewidths=0.4, zorder=3, gid=kind
        )
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], symmetric=True))


def _add_legend(ax: Axes, kinds: np.ndarray, max_qvalue: float) -> None:
    from matplotlib.lines import Line2D

    words = {"stronger": "stronger", "weaker": "weaker", "turned": "sign turned"}
    entries = [
        (marker, color, 5, f"{words[kind]} ({int((kinds == kind).sum()):,})")
        for kind, (marker, color) in _KINDS.items()
        if (kinds == kind).any()
    ]
    entries.append(("o", GREY, 3, f"q ≥ {max_qvalue:g} ({int((kinds == '').sum()):,})"))
    handles = [
        Line2D([], [], ls="none", marker=marker, mfc=color, ms=size, mec="white", mew=0.4, label=label)
        for marker, color, size, label in entries
    ]
    legend_below([ax], handles)


def _say_nothing_found(ax: Axes, max_qvalue: float, *, n_untested: int) -> None:
    words = f"no edge with q < {max_qvalue:g}" + (f"; {n_untested:,} not tested" if n_untested else "")
    # above the axes, where no edge is drawn
    ax.annotate(
        words, (0, 1), xycoords="axes fraction", xytext=(0, 2), textcoords="offset points", fontsize=SMALL, color=BLACK
    )


def _add_names(ax: Axes, table: pd.DataFrame, kinds: np.ndarray, top_n: int) -> None:
    """Name the first significant edges of the table, which is sorted, beside their points."""
    from ._halo_text import HaloText

    chosen = np.flatnonzero(kinds != "")[:top_n]
    if not len(chosen):
        return
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]  # lays the axes out: where points are on the page
    to_points = 72 / ax.figure.dpi
    corner = ax.bbox.p0
    xy = table[["strength_reference", "strength"]].to_numpy()
    anchors = (ax.transData.transform(xy) - corner) * to_points
    texts, sizes = {}, np.zeros((len(table), 2))
    for at in chosen:
        name = f"{table['source'][at]}→{table['target'][at]}"
        text = HaloText(
            float(xy[at, 0]),
            float(xy[at, 1]),
            name,
            halo=1.4,
            ha="center",
            va="center",
            fontsize=SMALL - 1,
            color=BLACK,
            zorder=4,
            clip_on=False,
        )
        ax.add_artist(text)
        box = text.get_window_extent()
        sizes[at] = np.array([box.width, box.height]) * to_points
        texts[at] = text
    width, height = ax.bbox.width * to_points, ax.bbox.height * to_points
    axes = np.array([[0, height / 2, width, height / 2], [width / 2, 0, width / 2, height]])  # where a strength is 0
    # other edges may be covered, significant ones not: only these are in the way
    in_the_way = np.flatnonzero(kinds != "")
    centres = place_labels(
        anchors[in_the_way],
        np.full(len(in_the_way), _RADIUS),
        sizes[in_the_way],
        np.zeros(len(in_the_way), dtype=bool),
        order=list(range(len(chosen))),
        segments=axes,
        bounds=(width, height),
        gaps=_GAPS,
    )
    for place, at in enumerate(chosen):
        if np.isnan(centres[place]).any():
            texts[at].remove()
        else:
            to_data = ax.transData.inverted()
            texts[at].set_position(tuple(to_data.transform(centres[place] / to_points + corner).tolist()))
            half = sizes[at] / 2
            nearest = np.clip(anchors[at], centres[place] - half, centres[place] + half)
            if np.hypot(*(nearest - anchors[at])) > _RADIUS + _LEADER:
                end = to_data.transform(nearest / to_points + corner)
                ax.plot(*zip(xy[at], end, strict=True), color=GREY, lw=0.5, zorder=2.5, gid="leader")
