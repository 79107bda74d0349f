"""Rankings of genes, read as edges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.prior_files import name_of_file, read_prior_file
from scgrn_tl.core.prior_rankings import TOP_N, ranking_edges

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["read_rankings"]


@typed_arguments
def read_rankings(
    rankings: str | os.PathLike[str] | pd.DataFrame,
    *,
    top_n: int = TOP_N,
    motif_to_tf: Mapping[str, Any] | str | os.PathLike[str] | pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Edges out of a table that ranks all genes for each motif or TF, as cisTarget's databases do.

    Parameters
    ----------
    rankings
        A feather, parquet, csv or tsv file, or its table: a row per motif or TF with its name, and a column per gene
        with its rank among all genes, 0 for the best (``*.genes_vs_motifs.rankings.feather``).
    top_n
        How many genes of each row are its targets: those of rank below ``top_n``.
    motif_to_tf
        Where rows are motifs: motif → TF or TFs; or a table or file with the columns ``#motif_id`` and ``gene_name``,
        such as cisTarget's annotations (``motifs-v10nr_clust-nr.hgnc-m0.001-o0.0.tbl``). Motifs it lacks are left out.

    Returns
    -------
    A ``prior`` as it stands: ``source``, ``target`` and ``weight`` (float32; 1 for the best rank, falling by
    ``1 / top_n`` with each). Where several motifs of a TF rank a gene, the highest weight.

    Raises
    ------
    ArgumentError
        If ``top_n`` is no positive whole number, or ``motif_to_tf`` does not fit.
    PriorError
        If the file cannot be read or holds no ranking.

    Examples
    --------
    >>> prior = sg.io.read_rankings("hg38.rankings.feather", motif_to_tf="motifs.tbl")  # doctest: +SKIP
    """
    name = ""
    if not isinstance(rankings, pd.DataFrame):
        path = _existing(rankings, "rankings")
        rankings, name = read_prior_file(path, ()), name_of_file(path)
    if isinstance(motif_to_tf, (str, Path)):
        # its header starts as comments do elsewhere
        motif_to_tf = pd.read_csv(_existing(motif_to_tf, "motif_to_tf"), sep="\t", dtype=str)
    edges = ranking_edges(rankings, top_n=top_n, motif_to_tf=motif_to_tf)
    if name:
        edges.attrs["name"] = name
    return edges


def _existing(path: str | os.PathLike[str], argument: str) -> Path:
    found = Path(path).expanduser()
    if not found.is_file():
        msg = f"{argument}={str(path)!r} is not there, or is no file. Check the path."
        raise ArgumentError(msg)
    return found
