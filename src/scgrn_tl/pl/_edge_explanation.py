"""What the score of an edge is made of: hubs, cells, messages."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, MissingKeyError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments

from ._palette import BLACK, BLUE, GREY, VERMILLION
from ._quiet_axes import COLUMN, SMALL, TITLE, quiet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes
    from mudata import MuData

__all__ = ["edge_explanation"]

_LONGEST, _LONGEST_GENE = 22, 14
"""Letters of a name that are drawn."""


@typed_arguments
def edge_explanation(
    adata: AnnData | MuData,
    source: str,
    target: str,
    *,
    key: str = "edge_explanation",
    n_groups: int = 12,
    n_messages: int = 5,
    axes: Sequence[Axes] | None = None,
    modality: str = "rna",
) -> list[Axes]:
    """Draw what :func:`scgrn_tl.tl.explain_edges` found out about an edge.

    Above, the log-odds of the edge and the two parts that add up to it: what the two genes' hub rates explain, and what
    is specific to the pair. In the middle, each group's share of the weight with which cells make up the embedding of
    the regulator (disc) and of the target (diamond), beside its share of the cells (bar). Below, the messages of the
    graph network that either gene attends to most, and a tick where each would be if all messages into the gene were
    attended to alike. Attention is a weight, not a cause.

    Parameters
    ----------
    adata
        Annotated data with ``uns[key]``, or a MuData whose ``modality`` has it.
    source, target
        The edge, one of those explained.
    key
        ``key_added`` of :func:`scgrn_tl.tl.explain_edges`.
    n_groups
        Most groups drawn: those whose share of the weight differs most from their share of the cells.
    n_messages
        Most messages drawn for each gene.
    axes
        Three axes, from above; a new figure of one column's width if ``None``.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    The three axes. One whose part of the explanation is absent says why. Artists have the gids ``hub``,
    ``specificity``, ``logit``, ``cells``, ``weight:<gene>``, ``attention:<gene>`` and ``uniform:<gene>``.

    Raises
    ------
    MissingKeyError
        If nothing is explained under ``key``.
    ArgumentError
        If the edge was not explained, or there are not three axes.
    """
    for name, value in {"n_groups": n_groups, "n_messages": n_messages}.items():
        if value < 1:
            msg = f"{name} is a whole number above 0, not {value!r}."
            raise ArgumentError(msg)
    record, edge = _read(open_anndata(adata, modality=modality), key, source, target)
    absent: Mapping[str, str] = record.get("absent", {})
    genes = list(dict.fromkeys([source, target]))
    cells = None if "cells" in absent else _groups_of(record["cells"], genes, n_groups)
    messages = None if "messages" in absent else _messages_of(record["messages"], genes, n_messages)
    drawn = _new_axes(cells, messages) if axes is None else list(np.ravel(np.asarray(axes, dtype=object)))
    if len(drawn) != 3:
        msg = f"axes are three, for log-odds, cells and messages; not {len(drawn)}."
        raise ArgumentError(msg)
    _draw_logit(drawn[0], edge, absent.get("hubs"))
    drawn[0].set_title(
        f"{_short(source)} → {_short(target)}   p = {edge['probability']:.2f}", fontsize=TITLE, loc="right"
    )
    if cells is None:
        _say(drawn[1], "cells", absent["cells"])
    else:
        _draw_cells(drawn[1], cells, genes)
    if messages is None:
        _say(drawn[2], "messages", absent["messages"])
    else:
        _draw_messages(drawn[2], messages)
    _wrap(drawn)
    return drawn


def _read(adata: AnnData, key: str, source: str, target: str) -> tuple[Mapping[str, Any], pd.Series]:
    record = adata.uns.get(key)
    if not hasattr(record, "get") or "edges" not in record:
        explained = [str(name) for name, value in adata.uns.items() if hasattr(value, "get") and "absent" in value]
        close = get_close_matches(key, explained, 1, 0.0)
        meant = f" Did you mean key={close[0]!r}?" if close else ""
        msg = f"Did not find an explanation in .uns[{key!r}]. Run `sg.tl.explain_edges(adata, [(…, …)])` first.{meant}"
        raise MissingKeyError(msg)
    edges = record["edges"]
    found = edges[(edges["source"].astype(str) == source) & (edges["target"].astype(str) == target)]
    if not len(found):
        pairs = ", ".join(f"{s} → {t}" for s, t in zip(edges["source"][:5], edges["target"][:5], strict=True))
        msg = (
            f"{source} → {target} is not among the {len(edges)} edges explained in .uns[{key!r}]: {pairs}"
            f"{', …' if len(edges) > 5 else ''}. Run `sg.tl.explain_edges(adata, [({source!r}, {target!r})])`."
        )
        raise ArgumentError(msg)
    return record, found.iloc[0]


def _groups_of(cells: pd.DataFrame, genes: list[str], n_groups: int) -> pd.DataFrame:
    """Weight shares, groups × genes, beside ``cell_share``; the most enriched or depleted groups, the largest first."""
    cells = cells[cells["gene"].astype(str).isin(genes)].astype({"gene": str, "group": str})
    table = cells.pivot_table(index="group", columns="gene", values="weight_share", sort=False)
    share = cells.drop_duplicates("group").set_index("group")["cell_share"]
    off = table.sub(share, axis=0).abs().max(axis=1)
    chosen = off.sort_values(ascending=False, kind="stable").index[:n_groups]
    table["cell_share"] = share
    return table.loc[chosen].sort_values("cell_share", ascending=False, kind="stable")


def _messages_of(messages: pd.DataFrame, genes: list[str], n_messages: int) -> list[pd.DataFrame]:
    """Of each gene, its strongest messages and that to itself."""
    found = []
    for gene in genes:
        table = messages[messages["gene"].astype(str) == gene].sort_values("attention", ascending=False, kind="stable")
        is_self = table["relation"].astype(str) == "self"
        kept = table.index.isin(table[~is_self].index[:n_messages]) | is_self
        found.append(table[kept])
    return found


def _new_axes(cells: pd.DataFrame | None, messages: list[pd.DataFrame] | None) -> list[Axes]:
    import matplotlib.pyplot as plt

    n_groups = 3 if cells is None else max(2, len(cells))
    n_messages = 3 if messages is None else sum(map(len, messages)) + len(messages)
    rows = [3.0 + 2.5, n_groups + 5.5, n_messages + 3.0]
    _, axes = plt.subplots(
        3, 1, figsize=(COLUMN, 0.155 * sum(rows)), layout="constrained", height_ratios=rows, squeeze=True
    )
    return list(axes)


def _draw_logit(ax: Axes, edge: pd.Series, absent: str | None) -> None:
    """Hub part, specificity, and their sum, as bars from 0."""
    parts = {"hub rates": ("hub", GREY), "specificity": ("specificity", VERMILLION), "together": ("logit", BLACK)}
    if absent is not None:
        parts = {"log-odds": ("logit", BLACK)}
    start, reached = 0.0, [0.0]
    for row, (name, color) in enumerate(parts.values()):
        value = float(edge[name])
        begin = start if name == "specificity" else 0.0
        ax.barh(row, value, left=begin, height=0.55, color=color, gid=name)
        end = begin + value
        reached.append(end)
        if name == "hub":
            start = end
            ax.plot([end, end], [row, row + 1], color=GREY, lw=0.6, zorder=0.5)
        if name == "specificity":
            ax.plot([end, end], [row, row + 1], color=GREY, lw=0.6, zorder=0.5)
        ax.annotate(
            f"{value:+.2f}".replace("-", "−"),
            (max(begin, end, 0.0), row),  # right of the bar and of the line at 0: to the left are names
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            ha="left",
            fontsize=SMALL,
            color=BLACK,
        )
    ax.axvline(0, color=BLACK, lw=0.6)
    ax.set_yticks(range(len(parts)), list(parts))
    ax.set_ylim(len(parts) - 0.5, -0.5)
    span = max(reached) - min(reached)
    ax.set_xlim(min(reached) - 0.02 * span * (min(reached) < 0), max(reached) + 0.3 * span)  # room for the numbers
    ax.set_xlabel("log-odds")
    quiet(ax)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)


def _draw_cells(ax: Axes, cells: pd.DataFrame, genes: list[str]) -> None:
    """A bar for each group's share of the cells, a marker for its share of either gene's weight."""
    rows = np.arange(len(cells))
    ax.barh(rows, cells["cell_share"], height=0.72, color=GREY, alpha=0.28, lw=0, gid="cells", label="cells")
    for gene, color, marker, shift in zip(genes, (BLUE, VERMILLION), ("o", "D"), (-0.14, 0.14), strict=False):
        is_known = gene in cells
        ax.plot(
            cells[gene] if is_known else [],
            rows + shift if is_known else [],
            ls="none",
            marker=marker,
            ms=4.0 if marker == "o" else 3.4,
            mfc=color if is_known else "none",
            mec="white" if is_known else color,
            mew=0.4,
            gid=f"weight:{gene}",
            label=_short(gene) if is_known else f"{_short(gene)}: not embedded",
        )
    ax.set_yticks(rows, [_short(name, _LONGEST) for name in cells.index])
    ax.set_ylim(len(cells) - 0.45, -0.55)
    ax.set_xlim(left=0)
    ax.margins(x=0.05)
    ax.set_xlabel("share of the weight (bars: of the cells)")
    quiet(ax)
    ax.tick_params(axis="y", length=0)
    n_letters = sum(len(str(label)) for label in ax.get_legend_handles_labels()[1])
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3 if n_letters <= 30 else 1,
        frameon=False,
        fontsize=SMALL,
        handlelength=1.0,
        columnspacing=1.0,
        borderaxespad=0.1,
        handletextpad=0.4,
    )


def _draw_messages(ax: Axes, messages: list[pd.DataFrame]) -> None:
    """A line and a marker for the attention to each message, under a line that names the gene that reads them."""
    labels, places, row = [], [], 0.0
    for table, color, marker in zip(messages, (BLUE, VERMILLION), ("o", "D"), strict=False):
        gene = str(table["gene"].iloc[0])
        ax.text(0.0, row, f" {_short(gene)} attends to", va="center", fontsize=SMALL, fontweight="bold", color=BLACK)
        rows = row + 1 + np.arange(len(table))
        attention = table["attention"].to_numpy(dtype=float)
        ax.hlines(rows, 0, attention, color=color, lw=0.9, alpha=0.6)
        ax.plot(
            attention, rows, ls="none", marker=marker, ms=4.0, mfc=color, mec="white", mew=0.4, gid=f"attention:{gene}"
        )
        ax.plot(
            table["uniform"], rows, ls="none", marker="|", ms=6.5, mew=1.0, color=BLACK, gid=f"uniform:{gene}", zorder=3
        )
        for sender, relation in zip(table["sender"].astype(str), table["relation"].astype(str), strict=True):
            labels.append("itself" if relation == "self" else f"{_short(sender)} ({_short(relation, _LONGEST)})")
        places += rows.tolist()
        row = rows[-1] + 1.3
    ax.set_yticks(places, labels)
    ax.set_ylim(row - 0.4, -0.6)
    ax.set_xlim(left=0)
    ax.margins(x=0.05)
    ax.set_xlabel("attention (ticks: all alike)")
    quiet(ax)
    ax.tick_params(axis="y", length=0)


def _say(ax: Axes, what: str, reason: str) -> None:
    """An empty panel that says why it is."""
    ax.set_axis_off()
    words = f"No {what}: {reason}".replace("`", "")
    ax.text(
        0.0,
        0.5,
        words,
        transform=ax.transAxes,
        va="center",
        fontsize=SMALL,
        fontstyle="italic",
        color=GREY,
        gid="absent",
        in_layout=False,
    )


def _wrap(axes: Sequence[Axes]) -> None:
    """Break the lines of what panels say, so that they are no wider than the panel will be."""
    import textwrap

    said = [(ax, text) for ax in axes for text in ax.texts if text.get_gid() == "absent"]
    if not said:
        return
    figure = axes[0].figure.figure
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    for ax, text in said:
        words, width = text.get_text(), ax.get_window_extent().width
        n_letters = int(len(words) * width / text.get_window_extent().width * 1.1)
        while text.get_window_extent().width > width and n_letters > 10:
            text.set_text(textwrap.fill(words, n_letters))
            n_letters -= 1


def _short(name: str, longest: int = _LONGEST_GENE) -> str:
    """``name``, less its middle if it is long: what tells names apart stands at either end."""
    half = longest // 2
    return name if len(name) <= longest else f"{name[: half - 1]}…{name[-half:]}"
