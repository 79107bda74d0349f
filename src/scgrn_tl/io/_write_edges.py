"""Stored networks written to files."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from scgrn_tl.core import ArgumentError, MissingDependencyError
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.get import grn_df

from . import _tables
from ._atomic import replaced_when_complete
from ._export import to_networkx

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    import pandas as pd
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.get._slots import Threshold

__all__ = ["EdgeFormat", "write_beeline", "write_edges"]

LOGGER = logging.getLogger(__name__)

EdgeFormat = Literal["csv", "tsv", "graphml", "parquet", "sif", "gmt", "pyscenic", "decoupler", "celloracle", "beeline"]

_COMPRESSION_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")
_BY_SUFFIX = ("csv", "tsv", "graphml", "parquet", "sif", "gmt")
_UNCOMPRESSED = ("graphml", "parquet", "gmt")


@typed_arguments
def write_edges(
    adata: AnnData | MuData,
    path: str | os.PathLike[str],
    *,
    key: str = "grn",
    format: EdgeFormat | None = None,
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = "auto",
    top_n: int | None = None,
    modality: str = "rna",
) -> None:
    """Write the edges of a stored network to a file.

    The file is written beside its place and then moved there: if writing fails, what stood there before is kept.
    :meth:`scgrn_tl.core.PriorNetwork.from_any` reads every one of these formats.

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    path
        Where to write. A compression suffix of tables (``.csv.gz``) is heeded.
    key
        Where the network is stored.
    format
        If ``None``, the suffix of ``path`` tells, which is one of these:

        - ``"csv"``, ``"tsv"``, ``"parquet"``: the table of :func:`scgrn_tl.get.grn_df`, with all its columns.
        - ``"graphml"`` (Cytoscape, Gephi, igraph): the graph of :func:`scgrn_tl.io.to_networkx`.
        - ``"sif"`` (Cytoscape): ``activates``, ``represses`` or ``regulates`` between two genes.
        - ``"gmt"``: a set of targets per regulator and sign, named as :func:`scgrn_tl.io.to_regulons` does.

        No suffix stands for the others:

        - ``"decoupler"``: :func:`scgrn_tl.io.to_decoupler` as csv.
        - ``"pyscenic"``: :func:`scgrn_tl.io.to_pyscenic` as tsv, for ``pyscenic ctx``.
        - ``"celloracle"``: :func:`scgrn_tl.io.to_celloracle` as parquet, or as csv where ``path`` ends so.
        - ``"beeline"``: see :func:`scgrn_tl.io.write_beeline`.
    tfs, targets, min_probability, top_n, modality
        Which edges: see :func:`scgrn_tl.get.grn_df`.

    Raises
    ------
    ArgumentError
        If the format is unknown, or the folder does not exist; and as :func:`scgrn_tl.get.grn_df`.
    MissingDependencyError
        If a parquet file is asked for and pyarrow is not installed.
    MissingKeyError
        If no network is stored under ``key``.
    """
    path = Path(path).expanduser()
    compression = path.suffix if path.suffix in _COMPRESSION_SUFFIXES else None
    chosen = _format_of(path, format)
    as_parquet = chosen == "parquet" or (chosen == "celloracle" and ".csv" not in path.suffixes)
    if compression is not None and (chosen in _UNCOMPRESSED or as_parquet):
        msg = f"{path.name!r}: a {chosen} file is not compressed from outside. Drop {compression!r}."
        raise ArgumentError(msg)
    selection: dict[str, Any] = {
        "key": key,
        "tfs": tfs,
        "targets": targets,
        "min_probability": min_probability,
        "top_n": top_n,
        "modality": modality,
    }
    if chosen == "graphml":
        import networkx as nx

        graph = to_networkx(adata, **selection)
        n_edges = graph.number_of_edges()
        with replaced_when_complete(path) as beside:
            nx.write_graphml(graph, beside)
    else:
        edges = grn_df(adata, **selection)
        n_edges = len(edges)
        with replaced_when_complete(path) as beside:
            if as_parquet:
                _write_parquet(_tables.base_grn(edges) if chosen == "celloracle" else edges, beside)
            elif chosen == "gmt":
                _tables.write_lines(_tables.gmt_lines(edges), beside)
            else:
                table_of, separator = _TEXT[chosen]
                table_of(edges).to_csv(beside, sep=separator, index=False, header=chosen != "sif", compression="infer")
    LOGGER.info("Wrote %s edges to %s.", f"{n_edges:,}", path)


@typed_arguments
def write_beeline(
    adata: AnnData | MuData,
    path: str | os.PathLike[str],
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = None,
    top_n: int | None = None,
    modality: str = "rna",
) -> None:
    """Write a stored network as BEELINE's evaluation reads it (Pratapa et al. 2020): ``rankedEdges.csv``.

    Three columns apart by tabs, ``Gene1``, ``Gene2`` and ``EdgeWeight``, by falling size of the weight. Unlike
    elsewhere every edge stored is written, since BEELINE ranks them itself.

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    path
        The file, or the folder of a method in BEELINE's outputs, in which it is then ``rankedEdges.csv``.
    key
        Where the network is stored.
    tfs, targets, min_probability, top_n, modality
        Which edges: see :func:`scgrn_tl.get.grn_df`.

    Raises
    ------
    ArgumentError, MissingKeyError
        As :func:`scgrn_tl.io.write_edges`.
    """
    path = Path(path).expanduser()
    write_edges(
        adata,
        path / "rankedEdges.csv" if path.is_dir() else path,
        key=key,
        format="beeline",
        tfs=tfs,
        targets=targets,
        min_probability=min_probability,
        top_n=top_n,
        modality=modality,
    )


def _as_it_is(edges: pd.DataFrame) -> pd.DataFrame:
    return edges


_TEXT: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str]] = {
    "csv": (_as_it_is, ","),
    "tsv": (_as_it_is, "\t"),
    "sif": (_tables.relations, "\t"),
    "pyscenic": (_tables.adjacencies, "\t"),
    "decoupler": (_tables.decoupler_net, ","),
    "celloracle": (_tables.base_grn, ","),
    "beeline": (_tables.ranked_edges, "\t"),
}
"""Format → the table that is written, and what stands between its columns."""


def _format_of(path: Path, format: str | None) -> str:
    if format is not None:
        return format
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSION_SUFFIXES]
    guessed = suffixes[-1].lstrip(".").lower() if suffixes else ""
    if guessed not in _BY_SUFFIX:
        msg = (
            f"{path.name!r} does not tell the format. End it with {', '.join(f'.{name}' for name in _BY_SUFFIX)}, or "
            f"give format=, one of {', '.join(map(repr, get_args(EdgeFormat)))}."
        )
        raise ArgumentError(msg)
    return guessed


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        frame.to_parquet(path, index=False)
    except ImportError as error:
        msg = "A parquet file needs pyarrow: `pip install pyarrow`, or write a .csv or .tsv file."
        raise MissingDependencyError(msg) from error
