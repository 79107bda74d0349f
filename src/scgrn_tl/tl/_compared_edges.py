"""Which edges a differential network compares, and what the stored networks say of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, MissingKeyError, PriorNetwork
from scgrn_tl.get._slots import read_network

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

__all__ = ["candidate_edges", "keep_likeliest", "log_odds"]

LOGGER = logging.getLogger(__name__)


def candidate_edges(
    adata: AnnData, edges: Any, *, key: str, group: str, reference: str, min_probability: float
) -> pd.DataFrame:
    """Edges to compare, with their probabilities.

    Parameters
    ----------
    adata
        With the networks.
    edges
        Anything that :meth:`scgrn_tl.core.PriorNetwork.from_any` reads; ``None`` for the edges that are likely in
        ``varp[key]``, or in that of either group.
    key, group, reference
        The group's network is ``varp[f"{key}_{group}"]``.
    min_probability
        How likely.

    Returns
    -------
    ``source``, ``target`` (``int64``, gene indices), ``probability``, ``probability_reference`` (of the groups' own
    networks; NaN where there is none) and ``rank`` (the smaller, the likelier).

    Raises
    ------
    MissingKeyError
        If no network is stored and no edges are given.
    ArgumentError
        If a network holds scores that are no probabilities, or no edge is likely.
    PriorError
        If ``edges`` cannot be read.
    """
    genes = tuple(map(str, adata.var_names))
    own = [_network(adata, f"{key}_{name}") for name in (group, reference)]
    if edges is not None:
        given = PriorNetwork.from_any(edges, genes, adata=adata, min_edges=1, min_regulators=1)
        source, target = given.edge_index
        rank = -given.weight.astype(np.float64)
    else:
        source, target, rank = _likely(adata, own, key=key, min_probability=min_probability)
    columns = {
        name: np.full(len(source), np.nan) if matrix is None else np.asarray(matrix[source, target], float).ravel()
        for name, matrix in zip(("probability", "probability_reference"), own, strict=True)
    }
    return pd.DataFrame({"source": source, "target": target, **columns, "rank": rank})


def _network(adata: AnnData, key: str) -> sparse.csr_matrix | None:
    """The probabilities stored under ``key``, if there are any."""
    if key not in adata.varp:
        return None
    network = read_network(adata, key)
    if not network.holds_probabilities:
        msg = (
            f".varp[{key!r}] holds scores, not probabilities, so that none is 'likely'. Name the edges to compare: "
            "`edges=sg.get.grn_df(adata, top_n=2000)`."
        )
        raise ArgumentError(msg)
    return network.matrix


def _likely(
    adata: AnnData, own: list[sparse.csr_matrix | None], *, key: str, min_probability: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``source``, ``target`` and rank of the edges that some network takes for likely."""
    networks = [matrix for matrix in (_network(adata, key), *own) if matrix is not None]
    if not networks:
        msg = (
            f"Did not find .varp[{key!r}]. Run `sg.tl.fit_grn(adata, prior, groupby=…)` first, or name the edges to "
            "compare by `edges=`."
        )
        raise MissingKeyError(msg)
    highest = networks[0]
    for matrix in networks[1:]:
        highest = highest.maximum(matrix)
    highest = highest.tocoo()
    # In the stored precision: 0.7 as float32 is below 0.7 as float64.
    kept = (highest.data >= np.float32(min_probability)) & (highest.row != highest.col) & (highest.data > 0)
    if not kept.any():
        msg = f"No edge of .varp[{key!r}] is as likely as min_probability={min_probability!r}: lower it."
        raise ArgumentError(msg)
    return highest.row[kept].astype(np.int64), highest.col[kept].astype(np.int64), -highest.data[kept].astype(float)


def keep_likeliest(edges: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many regulators of a target, the likeliest; sorted by target, then source."""
    place = edges.sort_values(["target", "rank", "source"]).groupby("target").cumcount()
    kept = edges[place.reindex(edges.index) < most]
    if len(kept) < len(edges):
        LOGGER.warning(
            "%s of %s edges are left out: of a target, the %d likeliest regulators are compared.",
            f"{len(edges) - len(kept):,}",
            f"{len(edges):,}",
            most,
        )
    return kept.sort_values(["target", "source"], ignore_index=True)


def log_odds(probability: pd.Series) -> np.ndarray:
    """Log-odds, a probability of 0 or 1 being taken as that next to it in ``float32``."""
    from scipy.special import logit

    least = float(np.finfo(np.float32).eps)
    values: np.ndarray = logit(np.clip(probability.to_numpy(dtype=np.float64), least, 1 - least))
    return values
