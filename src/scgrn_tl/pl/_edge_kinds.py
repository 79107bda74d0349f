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

__all__ = ["KINDS", "edges_to_draw"]

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
) -> tuple[pd.DataFrame, int]:
    """The edges to draw, ``source, target, probability, sign, kind``, and how many missed ones there were in all.

    Missed edges are those of the reference between the genes drawn (or named in ``tfs`` and ``targets``) that fall
    below the threshold; an edge above it that merely is not among the ``top_n`` is not missed. At most as many are kept
    as there are predicted edges, those with the lowest score first: the plainest misses.
    """
    tfs = [tfs] if isinstance(tfs, str) else None if tfs is None else list(tfs)
    targets = [targets] if isinstance(targets, str) else None if targets is None else list(targets)
    least = read_network(adata, key).threshold(key, min_probability)
    selection: dict[str, Any] = {"tfs": tfs, "targets": targets, "min_probability": least}
    predicted = grn_df(adata, key=key, **selection)
    if not len(predicted):
        _raise_nothing_left(adata, key, selection)
    shown = predicted.head(top_n).copy()
    here = _pairs(predicted)
    there = None if compare is None else _compared_pairs(adata, compare, selection, n_edges=len(predicted))
    if reference is None:
        shown["kind"] = "predicted" if there is None else np.where(_pairs(shown).isin(there), "found", "only_here")
        return shown, 0

    truth = _read_reference(adata, reference, key)
    if not len(_pairs(truth).intersection(_scored_pairs(adata, key, truth))):
        msg = "No edge of the reference starts at a regulator of this network: nothing can be found or missed."
        raise ArgumentError(msg)
    is_true = _pairs(shown).isin(_pairs(truth))
    by_both = np.ones(len(shown), dtype=bool) if there is None else _pairs(shown).isin(there)
    shown["kind"] = np.select([is_true & by_both, is_true], ["found", "only_here"], "new")

    sources = set(tfs if tfs is not None else shown["source"])
    sinks = set(targets if targets is not None else [*shown["source"], *shown["target"]])
    possible = truth["source"].isin(sources) & truth["target"].isin(sinks) & ~_pairs(truth).isin(here)
    missed = truth[possible].copy()
    missed["probability"] = _scores_of(adata, key, missed)
    missed["kind"] = "missed" if there is None else np.where(_pairs(missed).isin(there), "only_compare", "missed")
    missed = missed.sort_values(["probability", "source", "target"], kind="stable")
    columns = ["source", "target", "probability", "sign", "kind"]
    return pd.concat([shown[columns], missed[columns].head(len(shown))], ignore_index=True), len(missed)


def _pairs(frame: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([frame["source"].astype(str), frame["target"].astype(str)])


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


def _compared_pairs(adata: AnnData, compare: str, selection: dict[str, Any], *, n_edges: int) -> pd.MultiIndex:
    """What the other network predicts: by the same threshold, or as many edges where it holds no probabilities."""
    if not read_network(adata, compare).holds_probabilities:
        selection = {**selection, "min_probability": None, "top_n": n_edges}
    return _pairs(grn_df(adata, key=compare, **selection))


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
            msg = f"reference: the entry of .uns is a {type(reference).__name__}; a table of edges is expected."
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
        msg = f"The network .varp[{key!r}] has no edges among these genes."
    raise ArgumentError(msg)
