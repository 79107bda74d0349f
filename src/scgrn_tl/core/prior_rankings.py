"""Edges out of rankings: tables that rank all genes for each motif or TF, as cisTarget's databases do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .errors import ArgumentError, PriorError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TOP_N", "is_ranking", "named_rows", "ranking_edges"]

TOP_N = 500
"""How many of the best-ranked genes are the targets of a row."""

_ROWS_LOOKED_AT = 20


def named_rows(frame: pd.DataFrame) -> pd.DataFrame | None:
    """A table of numbers with its rows named by the index; ``None`` if it is none.

    The names may stand in the index, or in the only column that holds no numbers (as ``motifs`` in cisTarget's files).
    """
    numeric = [pd.api.types.is_numeric_dtype(dtype) for dtype in frame.dtypes]
    if numeric.count(False) == 1 and len(numeric) > 2:
        name = frame.columns[numeric.index(False)]
        return frame.set_index(name)
    if all(numeric) and len(numeric) and len(frame) and all(isinstance(name, str) for name in frame.index):
        return frame
    return None


def is_ranking(rows: pd.DataFrame) -> bool:
    """Whether every row holds whole numbers from 0 on, none of them twice."""
    if rows.shape[1] < 3 or not len(rows) or not all(dtype.kind in "iu" for dtype in rows.dtypes):
        return False
    values = np.sort(rows.iloc[:_ROWS_LOOKED_AT].to_numpy(), axis=1)
    return bool((values[:, 0] >= 0).all() and (np.diff(values, axis=1) > 0).all())


def ranking_edges(
    rankings: pd.DataFrame, *, top_n: int = TOP_N, motif_to_tf: Mapping[str, Any] | pd.DataFrame | None = None
) -> pd.DataFrame:
    """The edges that a ranking holds: of each row, the ``top_n`` genes of the best rank.

    Parameters
    ----------
    rankings
        A row per motif or TF (named by the index, or by the only column that holds no numbers) and a column per gene;
        the value is the gene's rank among all genes, 0 for the best.
    top_n
        How many genes of each row are targets: those of rank below ``top_n``. Ranks count over the whole genome, also
        where the table holds only some of its genes.
    motif_to_tf
        Where rows are motifs: motif → TF or TFs, or a table with the columns ``motif_id`` (or ``#motif_id``) and
        ``gene_name``, such as cisTarget's annotations. Motifs it lacks are left out.

    Returns
    -------
    ``source``, ``target`` and ``weight``: 1 for the best rank, falling by ``1 / top_n`` with each; the highest one
    where several motifs of a TF rank the same gene.

    Raises
    ------
    ArgumentError
        If ``top_n`` is no positive whole number, or ``motif_to_tf`` cannot be used.
    PriorError
        If ``rankings`` is no table of ranks.
    """
    if isinstance(top_n, bool) or int(top_n) != top_n or top_n < 1:
        msg = f"top_n={top_n!r} is not a positive whole number."
        raise ArgumentError(msg)
    rows = named_rows(rankings)
    if rows is None or not is_ranking(rows):
        msg = (
            "The table is no ranking: a row per motif or TF with its name, and a column per gene with whole numbers "
            "from 0 on, none of them twice in a row, are expected."
        )
        raise PriorError(msg)
    tfs_of = None if motif_to_tf is None else _tfs_of_motifs(motif_to_tf)
    names = [str(name) for name in rows.index]
    if tfs_of is not None and not any(name in tfs_of for name in names):
        msg = (
            f"motif_to_tf has none of the motifs of the ranking, such as {names[0]!r}; it has {next(iter(tfs_of))!r}. "
            "Give the annotations of the collection that the ranking was made with."
        )
        raise ArgumentError(msg)
    values, genes = rows.to_numpy(), rows.columns.astype(str).to_numpy(dtype=object)
    parts = []
    for number, name in enumerate(names):
        of_row = np.flatnonzero(values[number] < top_n)
        weight = (1 - values[number, of_row] / top_n).astype(np.float32)
        tfs = (name,) if tfs_of is None else tfs_of.get(name, ())
        parts += [pd.DataFrame({"source": tf, "target": genes[of_row], "weight": weight}) for tf in tfs]
    edges = pd.concat(parts, ignore_index=True)
    return edges.groupby(["source", "target"], sort=False, as_index=False)["weight"].max()


def _tfs_of_motifs(motif_to_tf: Mapping[str, Any] | pd.DataFrame) -> dict[str, list[str]]:
    if isinstance(motif_to_tf, pd.DataFrame):
        columns = {str(name).lstrip("#").lower(): name for name in motif_to_tf.columns}
        if not {"motif_id", "gene_name"} <= set(columns):
            msg = (
                f"motif_to_tf has the columns {list(map(str, motif_to_tf.columns))}; it needs motif_id (or #motif_id) "
                "and gene_name. "
                "Rename them by `table.rename(columns={…})`."
            )
            raise ArgumentError(msg)
        pairs = motif_to_tf[[columns["motif_id"], columns["gene_name"]]].dropna().astype(str).drop_duplicates()
        pairs.columns = ["motif", "tf"]
        found: dict[str, list[str]] = pairs.groupby("motif", sort=False)["tf"].agg(list).to_dict()
    elif hasattr(motif_to_tf, "items"):
        found = {
            str(motif): [tfs] if isinstance(tfs, str) else [str(tf) for tf in tfs] for motif, tfs in motif_to_tf.items()
        }
    else:
        msg = (
            f"motif_to_tf is a {type(motif_to_tf).__name__}; a dict or a DataFrame is expected. "
            "Give {'motif': 'TF'}, or the table of annotations."
        )
        raise ArgumentError(msg)
    if not found:
        msg = "motif_to_tf names no motif. Give {'motif': 'TF'} pairs, or the path of the annotations (`motif_to_tf=`)."
        raise ArgumentError(msg)
    return found
