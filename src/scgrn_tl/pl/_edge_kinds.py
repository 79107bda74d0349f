"""Which edges a network plot shows, and of which kind each is: found, missed, new, found by one model only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, MissingKeyError, PriorNetwork
from scgrn_tl.get import grn_df
from scgrn_tl.get._slots import read_network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

    from scgrn_tl.get._slots import Threshold

__all__ = ["KINDS", "edges_to_draw", "is_directed"]

KINDS = ("predicted", "found", "only_here", "new", "missed", "only_compare")
"""Kinds of edges.

``predicted``
    Predicted; there is no reference and no other network to hold it against.
``found``
    Predicted and in the reference; with another network to compare with, that one predicts it too.
``only_here``
    As ``found``, but the other network does not predict it.
``new``
    Predicted, not in the reference.
``missed``
    In the reference, not predicted.
``only_compare``
    As ``missed``, but the other network predicts it.
"""


def edges_to_draw(
    adata: AnnData,
    *,
    key: str,
    tfs: str | Iterable[str] | None,
    targets: str | Iterable[str] | None,
    top_n: int | None,
    min_probability: Threshold,
    reference: Any,
    compare: str | None,
    directed: bool,
) -> tuple[pd.DataFrame, int]:
    """The edges to draw, ``source, target, probability, sign, kind``, and how many missed ones there were in all.

    Missed edges are those of the reference between the genes drawn (or named in ``tfs`` and ``targets``) that fall
    below the threshold; an edge above it that merely is not among the ``top_n`` is not missed. At most as many are kept
    as there are predicted edges, those with the lowest score first: the plainest misses.

    Of a network that is not ``directed``, a pair of genes is a single edge, and the direction of the reference does not
    count.
    """
    tfs = [tfs] if isinstance(tfs, str) else None if tfs is None else list(tfs)
    targets = [targets] if isinstance(targets, str) else None if targets is None else list(targets)
    least = read_network(adata, key).threshold(key, min_probability)
    selection: dict[str, Any] = {"tfs": tfs, "targets": targets, "min_probability": least}
    predicted = grn_df(adata, key=key, **selection)
    if not len(predicted):
        _raise_nothing_left(adata, key, selection)
    predicted = _once_a_pair(predicted, directed=directed)
    shown = predicted.head(top_n).copy()
    # A network with directions, held against one without, is held against its pairs.
    both_directed = directed and (compare is None or is_directed(adata, compare))
    there = (
        pd.MultiIndex.from_arrays([[], []])
        if compare is None
        else _compared_pairs(adata, compare, selection, n_edges=len(predicted), directed=both_directed)
    )
    by_both = _pairs(shown, directed=both_directed).isin(there) | (compare is None)
    if reference is None:
        shown["kind"] = "predicted" if compare is None else np.where(by_both, "found", "only_here")
        return shown, 0

    truth = _read_reference(adata, reference, key)
    if not len(_pairs(truth).intersection(_scored_pairs(adata, key, truth))):
        msg = (
            "No edge of the reference starts at a regulator of this network: nothing can be found or missed. "
            "Fit with its regulators (`tf_names=`), or give another `reference=`."
        )
        raise ArgumentError(msg)
    truth = _once_a_pair(truth, directed=directed)
    of_truth = _pairs(truth, directed=directed)
    is_true = _pairs(shown, directed=directed).isin(of_truth)
    shown["kind"] = np.select([is_true & by_both, is_true], ["found", "only_here"], "new")

    sources = set(tfs if tfs is not None else shown["source"])
    sinks = set(targets if targets is not None else [*shown["source"], *shown["target"]])
    possible = truth["source"].isin(sources) & truth["target"].isin(sinks)
    possible &= ~of_truth.isin(_pairs(predicted, directed=directed))
    missed = truth[possible].copy()
    missed["probability"] = _scores_of(adata, key, missed)
    missed["kind"] = np.where(_pairs(missed, directed=both_directed).isin(there), "only_compare", "missed")
    missed = missed.sort_values(["probability", "source", "target"], kind="stable")
    columns = ["source", "target", "probability", "sign", "kind"]
    return pd.concat([shown[columns], missed[columns].head(len(shown))], ignore_index=True), len(missed)


def is_directed(adata: AnnData, key: str) -> bool:
    """Whether the network tells who regulates whom: what its record says, or its method; yes where nobody says."""
    from scgrn_tl import methods

    record = adata.uns.get(key)
    if not hasattr(record, "get"):
        return True
    if (told := record.get("directed")) is not None:
        return bool(told)
    params = record.get("params")
    name = params.get("method") if hasattr(params, "get") else None
    return name not in methods.names() or methods.get(str(name)).directed


def _pairs(frame: pd.DataFrame, *, directed: bool = True) -> pd.MultiIndex:
    """Source and target of each edge; their names in alphabetical order if it is not ``directed``."""
    source, target = (frame[column].astype(str).to_numpy(dtype=object) for column in ("source", "target"))
    if not directed:
        turned = source > target
        source, target = np.where(turned, target, source), np.where(turned, source, target)
    return pd.MultiIndex.from_arrays([source, target])


def _once_a_pair(edges: pd.DataFrame, *, directed: bool) -> pd.DataFrame:
    return edges if directed else edges[~_pairs(edges, directed=False).duplicated()]


def _scored_pairs(adata: AnnData, key: str, truth: pd.DataFrame) -> pd.MultiIndex:
    network = read_network(adata, key)
    return _pairs(truth[truth["source"].isin(network.genes[network.is_regulator])])


def _scores_of(adata: AnnData, key: str, edges: pd.DataFrame) -> np.ndarray:
    network = read_network(adata, key)
    genes = pd.Index(network.genes)
    rows, columns = genes.get_indexer(edges["source"]), genes.get_indexer(edges["target"])
    return (
        np.asarray(network.matrix[rows, columns], dtype=np.float32).ravel() if len(edges) else np.empty(0, np.float32)
    )


def _compared_pairs(
    adata: AnnData, compare: str, selection: dict[str, Any], *, n_edges: int, directed: bool
) -> pd.MultiIndex:
    """What the other network predicts: by the same threshold, or as many edges where it holds no probabilities."""
    if read_network(adata, compare).holds_probabilities:
        return _pairs(grn_df(adata, key=compare, **selection), directed=directed)
    edges = grn_df(adata, key=compare, **{**selection, "min_probability": None})
    return _pairs(_once_a_pair(edges, directed=is_directed(adata, compare)).head(n_edges), directed=directed)


def _read_reference(adata: AnnData, reference: Any, key: str) -> pd.DataFrame:
    """The reference's edges among the genes: from a table, a network, a file, or a key of ``uns``."""
    if isinstance(reference, str) and reference == "prior":
        record = adata.uns.get(key, {})
        if "prior" not in record:
            msg = f"reference='prior', but there is no .uns[{key!r}]['prior']: this network was made without one."
            raise MissingKeyError(msg)
        reference = record["prior"]
    elif isinstance(reference, str) and reference in adata.uns:
        reference = adata.uns[reference]
        if not isinstance(reference, pd.DataFrame):
            msg = (
                f"reference: the entry of .uns is a {type(reference).__name__}; a table of edges is expected. "
                "Give a DataFrame of 'source' and 'target'."
            )
            raise ArgumentError(msg)
    network = PriorNetwork.from_any(reference, tuple(adata.var_names), adata=adata, min_edges=1, min_regulators=1)
    return network.to_frame()


def _raise_nothing_left(adata: AnnData, key: str, selection: dict[str, Any]) -> None:
    best = grn_df(adata, key=key, **{**selection, "min_probability": None}, top_n=1)
    if len(best):
        edge = best.iloc[0]
        msg = (
            f"No edge has a probability of at least {selection['min_probability']}; the highest here is "
            f"{edge['probability']:.3g} ({edge['source']} → {edge['target']}). Lower min_probability=."
        )
    else:
        msg = f"The network .varp[{key!r}] has no edges among the genes that tfs= and targets= name."
    raise ArgumentError(msg)
