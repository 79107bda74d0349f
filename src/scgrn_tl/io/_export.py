"""Stored networks in the forms that other tools read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from scgrn_tl.core import open_anndata
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.get import grn_df
from scgrn_tl.get._slots import read_network

from . import _tables

if TYPE_CHECKING:
    from collections.abc import Iterable

    import networkx as nx
    from anndata import AnnData
    from mudata import MuData

    from scgrn_tl.get._slots import Threshold

__all__ = ["to_celloracle", "to_decoupler", "to_networkx", "to_pyscenic", "to_regulons"]


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
    return _tables.decoupler_net(
        grn_df(
            adata, key=key, tfs=tfs, targets=targets, min_probability=min_probability, top_n=top_n, modality=modality
        )
    )


@typed_arguments
def to_celloracle(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = "auto",
    top_n: int | None = None,
    modality: str = "rna",
) -> pd.DataFrame:
    """A stored network as CellOracle's base GRN.

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
    A row per target: ``peak_id`` and ``gene_short_name`` (both the target: there are no peaks; CellOracle drops that
    column) and a column per regulator, uint8, 1 where there is an edge. Probabilities and signs have no place in it;
    CellOracle fits coefficients of its own to these edges.

    Raises
    ------
    MissingKeyError, ArgumentError
        As :func:`scgrn_tl.get.grn_df`.

    Examples
    --------
    >>> oracle.import_TF_data(TF_info_matrix=sg.io.to_celloracle(adata))  # doctest: +SKIP
    """
    return _tables.base_grn(
        grn_df(
            adata, key=key, tfs=tfs, targets=targets, min_probability=min_probability, top_n=top_n, modality=modality
        )
    )


@typed_arguments
def to_pyscenic(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = "auto",
    top_n: int | None = None,
    modality: str = "rna",
) -> pd.DataFrame:
    """A stored network as the adjacencies that pySCENIC prunes.

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
    ``TF``, ``target`` and ``importance`` (the probability, or the score), the highest first. Signs have no place in it:
    pySCENIC takes them from the correlation of the two genes.

    Raises
    ------
    MissingKeyError, ArgumentError
        As :func:`scgrn_tl.get.grn_df`.

    Examples
    --------
    >>> modules_from_adjacencies(sg.io.to_pyscenic(adata), expression)  # doctest: +SKIP
    """
    return _tables.adjacencies(
        grn_df(
            adata, key=key, tfs=tfs, targets=targets, min_probability=min_probability, top_n=top_n, modality=modality
        )
    )


@typed_arguments
def to_regulons(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = "auto",
    top_n: int | None = None,
    modality: str = "rna",
) -> dict[str, dict[str, float]]:
    """A stored network as regulons: each regulator's targets, activated and repressed ones apart.

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
    Name of the regulon → target → weight (the probability, or the score). Names are as pySCENIC's: ``"GATA1(+)"`` has
    the targets that it activates, ``"GATA1(-)"`` those that it represses, ``"GATA1"`` those of unknown sign.

    Raises
    ------
    MissingKeyError, ArgumentError
        As :func:`scgrn_tl.get.grn_df`.

    Examples
    --------
    >>> from ctxcore.genesig import GeneSignature  # doctest: +SKIP
    >>> regulons = [GeneSignature(*regulon) for regulon in sg.io.to_regulons(adata).items()]  # doctest: +SKIP
    >>> pyscenic.aucell.aucell(expression, regulons)  # doctest: +SKIP
    """
    return _tables.regulons(
        grn_df(
            adata, key=key, tfs=tfs, targets=targets, min_probability=min_probability, top_n=top_n, modality=modality
        )
    )
