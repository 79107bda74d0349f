"""What speaks for an edge: its probability and interval, hub rates, stability and cells, a row an edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from scgrn_tl.core import ArgumentError, MissingKeyError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.get import grn_df
from scgrn_tl.get._edge_pairs import pairs_of

from ._palette import BLACK, BLUE, GREY, SKY_BLUE
from ._quiet_axes import PAGE, SMALL, legend_below, quiet, warn_if_cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

__all__ = ["edge_evidence"]

_CERTAIN = 2.0**-24
_MOST_ROWS = 60
_COLUMNS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "stability": ("stability", lambda value: f"{100 * value:.0f} %"),
    "n_cells": ("cells", lambda value: f"{value:,}"),
    "std": ("spread", lambda value: f"± {value:.2f}"),
}
"""Column of the table → header, and how a value is written; what is not stored has no column."""
_COLUMN_INCHES = 0.52


@typed_arguments
def edge_evidence(
    adata: AnnData | MuData,
    edges: pd.DataFrame | Iterable[tuple[str, str]] | tuple[str, str] | None = None,
    *,
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    top_n: int = 15,
    key: str = "grn",
    ax: Axes | None = None,
    modality: str = "rna",
) -> Axes:
    """Draw what speaks for a handful of edges, a row each.

    A dot at the probability, full where the edge stands in the prior; a bar over the interval of
    :func:`scgrn_tl.tl.edge_evidence`; a tick at what the hub rates of the two genes alone would give,
    :math:`σ(logit(p) - specificity)`, and a thin line from there to the dot, which is the pair's own part. To the
    right, in numbers: stability, cells in which both genes are found, and the spread of an ensemble in log-odds.

    Parameters
    ----------
    adata
        An AnnData that :func:`scgrn_tl.tl.edge_evidence` was run on, or a MuData whose ``modality`` is one.
    edges
        Pairs of regulator and target: one, a list, or a DataFrame with ``source`` and ``target``; drawn in this order.
        ``None`` for the likeliest.
    tfs, targets
        Of the likeliest edges, only those out of these regulators, into these genes.
    top_n
        How many, if ``edges`` is ``None``; at most 60.
    key
        Where the network is stored.
    ax
        Where to draw; a new figure if ``None``. To its right there has to be room for the numbers.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    The axes. Artists have the gids ``probability``, ``interval``, ``hub`` and ``own``.

    Raises
    ------
    MissingKeyError
        If there is no such network, or no evidence of it.
    ArgumentError
        If an edge is not stored, no edge is left, or an argument cannot be used.
    """
    import matplotlib.pyplot as plt

    if not 1 <= top_n <= _MOST_ROWS:
        msg = f"top_n is a whole number from 1 to {_MOST_ROWS}, not {top_n!r}."
        raise ArgumentError(msg)
    if edges is not None and (tfs is not None or targets is not None):
        msg = "edges= names edges, and tfs= and targets= choose among all: give one or the other."
        raise ArgumentError(msg)
    table = _table(open_anndata(adata, modality=modality), edges, tfs, targets, int(top_n), key)
    columns = [name for name in _COLUMNS if name in table]
    if ax is None:
        height = 0.19 * len(table) + 1.05
        _, ax = plt.subplots(figsize=(PAGE * 0.8, height), layout="constrained")
    quiet(ax)
    _draw_rows(ax, table)
    _write_columns(ax, table, columns)
    legend_below([ax], _handles(table))
    warn_if_cut([ax])
    return ax


def _table(adata: AnnData, edges: Any, tfs: Any, targets: Any, top_n: int, key: str) -> pd.DataFrame:
    stored = grn_df(
        adata, key=key, tfs=tfs, targets=targets, min_probability=None, top_n=top_n if edges is None else None
    )
    if "low" not in stored:
        msg = f"Did not find evidence of .varp[{key!r}]. Run `sg.tl.edge_evidence(adata, key={key!r})` first."
        raise MissingKeyError(msg)
    if edges is None:
        if not len(stored):
            msg = f".varp[{key!r}] stores no edge of these regulators (tfs=) into these genes (targets=)."
            raise ArgumentError(msg)
        return stored
    wanted = pd.DataFrame(pairs_of(edges), columns=["source", "target"])
    if len(wanted) > _MOST_ROWS:
        msg = f"edges has {len(wanted):,} pairs; a figure shows at most {_MOST_ROWS}: give edges[:{_MOST_ROWS}]."
        raise ArgumentError(msg)
    table = wanted.merge(stored.astype({"source": str, "target": str}), how="left", on=["source", "target"])
    if (missing := table["probability"].isna()).any():
        source, target = table.loc[missing, ["source", "target"]].iloc[0]
        msg = (
            f"The edge {source} → {target} is not stored in .varp[{key!r}]: a name is unknown, {source} was not scored "
            "as a regulator, or the edge is not among the `max_edges` kept."
        )
        raise ArgumentError(msg)
    return table


def _draw_rows(ax: Axes, table: pd.DataFrame) -> None:
    rows = np.arange(len(table))
    probability = table["probability"].to_numpy(dtype=np.float64)
    ax.hlines(rows, 0, 1, color=GREY, lw=0.3, alpha=0.35, zorder=0.5)
    ax.hlines(rows, table["low"], table["high"], color=SKY_BLUE, lw=5.5, alpha=0.65, zorder=1, gid="interval")
    specificity = table["specificity"].to_numpy(dtype=np.float64)
    if np.isfinite(specificity).any():
        hub = expit(logit(probability.clip(_CERTAIN, 1 - _CERTAIN)) - specificity)
        ax.hlines(rows, hub, probability, color=BLACK, lw=0.7, zorder=2, gid="own")
        ax.plot(hub, rows, "|", ms=7, mew=1.3, color=BLACK, zorder=2.5, gid="hub")
    in_prior = table["in_prior"].to_numpy(dtype=bool)
    ax.scatter(
        probability,
        rows,
        s=20,
        facecolors=[BLUE if known else "white" for known in in_prior],
        edgecolors=BLUE,
        linewidths=0.9,
        zorder=3,
        gid="probability",
    )
    names = [f"{source} → {target}" for source, target in zip(table["source"], table["target"], strict=True)]
    ax.set_yticks(rows, names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(table) - 0.4, -0.6), xlabel="probability")


def _write_columns(ax: Axes, table: pd.DataFrame, columns: list[str]) -> None:
    """Numbers to the right of the axes, under a word each."""
    from matplotlib.transforms import ScaledTranslation, blended_transform_factory

    for number, name in enumerate(columns):
        header, written = _COLUMNS[name]
        inches = ScaledTranslation((number + 1) * _COLUMN_INCHES - 0.08, 0, ax.figure.dpi_scale_trans)
        beside_row = blended_transform_factory(ax.transAxes, ax.transData) + inches
        look: dict[str, Any] = {"ha": "right", "fontsize": SMALL, "gid": name}
        for row, value in enumerate(table[name]):
            ax.text(1.0, row, written(value), transform=beside_row, va="center_baseline", color=BLACK, **look)
        ax.text(1.0, 1.0, header, transform=ax.transAxes + inches, va="bottom", color=GREY, **look)


def _handles(table: pd.DataFrame) -> list[Any]:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 4.4, "mec": BLUE, "mew": 0.9}
    handles = []
    in_prior = table["in_prior"].astype(bool)
    if in_prior.any():
        handles.append(Line2D([], [], mfc=BLUE, label="in the prior", **dot))
    if not in_prior.all():
        handles.append(Line2D([], [], mfc="white", label="not in the prior", **dot))
    handles.append(Line2D([], [], color=SKY_BLUE, lw=5.5, alpha=0.65, label="over resampled cells"))
    if table["specificity"].notna().any():
        handles.append(Line2D([], [], ls="none", marker="|", ms=7, mew=1.3, color=BLACK, label="hub rates alone"))
        handles.append(Line2D([], [], color=BLACK, lw=0.7, label="the pair's own part"))
    return handles
