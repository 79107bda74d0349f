"""Stored networks in the forms that other tools read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pandas as pd

from scgrn_tl.core import ArgumentError, MissingDependencyError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.get import grn_df
from scgrn_tl.get._slots import read_network

from ._atomic import replaced_when_complete

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    import networkx as nx
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.get._slots import Threshold

__all__ = ["EdgeFormat", "to_decoupler", "to_networkx", "write_edges"]

LOGGER = logging.getLogger(__name__)

EdgeFormat = Literal["csv", "tsv", "graphml", "parquet"]

_COMPRESSION_SUFFIXES = (".gz", ".bz2", ".xz", ".zst")


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

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    path
        Where to write. A compression suffix of csv and tsv (``.csv.gz``) is heeded.
    key
        Where the network is stored.
    format
        ``"csv"``, ``"tsv"``, ``"graphml"`` (Cytoscape, Gephi, igraph) or ``"parquet"``; by the suffix of ``path`` if
        ``None``. The columns, or attributes of the edges, are those of :func:`scgrn_tl.get.grn_df`.
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
    if compression is not None and chosen in {"graphml", "parquet"}:
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
        frame = grn_df(adata, **selection)
        n_edges = len(frame)
        with replaced_when_complete(path) as beside:
            if chosen == "parquet":
                _write_parquet(frame, beside)
            else:
                frame.to_csv(beside, sep="," if chosen == "csv" else "\t", index=False, compression="infer")
    LOGGER.info("Wrote %s edges to %s.", f"{n_edges:,}", path)


@typed_arguments
def to_networkx(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = "auto",
    top_n: int | None = None,
    modality: str = "rna",
) -> nx.DiGraph:
    """A stored network as a :class:`networkx.DiGraph`.

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    key
        Where the network is stored.
    tfs, targets, min_probability, top_n, modality
        Which edges: see :func:`scgrn_tl.get.grn_df`.

    Returns
    -------
    A directed graph of the genes with at least one of these edges. Each node has ``is_tf``; each edge has ``weight``,
    ``sign``, ``in_prior``, and ``probability``, ``specificity`` and ``std`` where they are stored. All values are plain
    Python, so that any of networkx's writers takes them. Nodes and edges come in the order of
    :func:`scgrn_tl.get.grn_df`.

    Raises
    ------
    MissingKeyError, ArgumentError
        As :func:`scgrn_tl.get.grn_df`.
    """
    import networkx as nx

    frame = grn_df(
        adata, key=key, tfs=tfs, targets=targets, min_probability=min_probability, top_n=top_n, modality=modality
    )
    frame = frame.dropna(axis="columns", how="all") if len(frame) else frame
    network = read_network(open_anndata(adata, modality=modality), key)
    is_tf = dict(zip(network.genes.tolist(), network.is_regulator.tolist(), strict=True))
    graph = nx.DiGraph()
    attributes = [name for name in frame.columns if name not in {"source", "target"}]
    columns = [frame[name].tolist() for name in attributes]
    for source, target, *values in zip(frame["source"], frame["target"], *columns, strict=True):
        graph.add_edge(
            source, target, **{name: v for name, v in zip(attributes, values, strict=True) if not pd.isna(v)}
        )
    nx.set_node_attributes(graph, {gene: is_tf[gene] for gene in graph}, "is_tf")
    return graph


@typed_arguments
def to_decoupler(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = "auto",
    top_n: int | None = None,
    modality: str = "rna",
) -> pd.DataFrame:
    """A stored network as decoupler takes it, to estimate TF activities.

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    key
        Where the network is stored.
    tfs, targets, min_probability, top_n, modality
        Which edges: see :func:`scgrn_tl.get.grn_df`.

    Returns
    -------
    The columns ``source``, ``target`` and ``weight`` (probability times sign; an edge of unknown sign counts as
    activating), each pair once.

    Raises
    ------
    MissingKeyError, ArgumentError
        As :func:`scgrn_tl.get.grn_df`.

    Examples
    --------
    >>> dc.mt.ulm(adata, sg.io.to_decoupler(adata))  # doctest: +SKIP
    """
    frame = grn_df(
        adata,
        key=key,
        tfs=tfs,
        targets=targets,
        min_probability=min_probability,
        top_n=top_n,
        modality=modality,
    )
    return frame[["source", "target", "weight"]]


def _format_of(path: Path, format: str | None) -> str:
    formats = get_args(EdgeFormat)
    if format is not None:
        if format not in formats:
            msg = f"format={format!r} is unknown. Use one of {', '.join(map(repr, formats))}."
            raise ArgumentError(msg)
        return format
    suffixes = [suffix for suffix in path.suffixes if suffix not in _COMPRESSION_SUFFIXES]
    guessed = suffixes[-1].lstrip(".").lower() if suffixes else ""
    if guessed not in formats:
        msg = (
            f"{path.name!r} does not tell the format. End it with {', '.join(f'.{name}' for name in formats)}, or give "
            "format=."
        )
        raise ArgumentError(msg)
    return guessed


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    try:
        frame.to_parquet(path, index=False)
    except ImportError as error:
        msg = "A parquet file needs pyarrow: `pip install pyarrow`, or write a .csv or .tsv file."
        raise MissingDependencyError(msg) from error
