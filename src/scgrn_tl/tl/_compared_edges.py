"""Which edges a differential network compares, and what the stored networks say of them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scgrn_tl.core import ArgumentError, MissingKeyError, PriorError, PriorNetwork
from scgrn_tl.core.genes import mismatch_hint
from scgrn_tl.core.network import edge_columns
from scgrn_tl.core.user_warning import warn_user
from scgrn_tl.get._edge_pairs import pairs_of
from scgrn_tl.get._slots import read_network

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CELLS_PER_REGULATOR", "Candidates", "candidate_edges", "keep_likeliest", "log_odds"]

CELLS_PER_REGULATOR = 5

FEW_EDGES = 10
"""Fewer than these in the networks: the threshold has left hardly anything to compare."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Edges to compare.

    Attributes
    ----------
    edges
        ``source``, ``target`` (``int64``, gene indices), ``probability``, ``probability_reference`` (of the groups' own
        networks; NaN where there is none) and ``rank`` (the smaller, the likelier).
    n_unknown
        Edges that were named but are of genes that the data do not have.
    """

    edges: pd.DataFrame
    n_unknown: int


def candidate_edges(
    adata: AnnData, edges: Any, *, key: str, group: str, reference: str, min_probability: float
) -> Candidates:
    """Edges to compare, with their probabilities; warns of edges of unknown genes, and where there are hardly any.

    Parameters
    ----------
    adata
        With the networks.
    edges
        Pairs of names, or anything that :meth:`scgrn_tl.core.PriorNetwork.from_any` reads; ``None`` for the edges that
        are likely in ``varp[key]``, or in that of either group.
    key, group, reference
        The group's network is ``varp[f"{key}_{group}"]``.
    min_probability
        How likely.

    Raises
    ------
    MissingKeyError
        If no network is stored and no edges are given.
    ArgumentError
        If a network holds scores that are no probabilities, no edge is likely, or ``edges`` are no pairs.
    PriorError
        If ``edges`` cannot be read, or none is between genes of the data.
    """
    genes = tuple(map(str, adata.var_names))
    own = [_network(adata, f"{key}_{name}") for name in (group, reference)]
    if edges is not None:
        given = _named(adata, edges, genes)
        source, target = given.edge_index
        rank = -given.weight.astype(np.float64)
        n_unknown = _n_unknown(given)
    else:
        source, target, rank = _likely(adata, own, key=key, min_probability=min_probability)
        n_unknown = 0
        if len(source) < FEW_EDGES:
            warn_user(
                f"Only {len(source)} edges of the stored networks have a probability of at least {min_probability:g} "
                "and are compared. Lower min_probability=, or name the edges by `edges=`."
            )
    columns = {
        name: np.full(len(source), np.nan) if matrix is None else np.asarray(matrix[source, target], float).ravel()
        for name, matrix in zip(("probability", "probability_reference"), own, strict=True)
    }
    return Candidates(pd.DataFrame({"source": source, "target": target, **columns, "rank": rank}), n_unknown)


def _named(adata: AnnData, edges: Any, genes: tuple[str, ...]) -> PriorNetwork:
    """The edges that ``edges`` names, as far as they are between genes of the data."""
    if isinstance(edges, PriorNetwork):
        edges = edges.to_frame()  # its report is that of other genes
    if _is_pairs(edges):
        edges = pd.DataFrame(pairs_of(edges), columns=["source", "target"])
    names: list[str] = []
    try:
        if isinstance(edges, pd.DataFrame):
            names = _unknown_names(edges, genes)
        network = PriorNetwork.from_any(edges, genes, adata=adata, min_edges=1, min_regulators=1)
    except PriorError as error:
        msg = f"edges= cannot be compared. {error}"
        raise PriorError(msg, page="groups") from error
    if n_unknown := _n_unknown(network):
        such = f", such as {', '.join(map(repr, names[:3]))}" if names else ""
        warn_user(
            f"{n_unknown:,} of the {network.report['edges_given']:,} edges of edges= are not compared: they have genes "
            f"that are not in the data{such}."
        )
    return network


def _is_pairs(edges: Any) -> bool:
    """Whether it is none of the forms that a :class:`PriorNetwork` is read from, and could be pairs."""
    other = isinstance(edges, (str, os.PathLike, pd.DataFrame, np.ndarray)) or sparse.issparse(edges)
    return isinstance(edges, Iterable) and not other and not hasattr(edges, "edges")


def _unknown_names(table: pd.DataFrame, genes: tuple[str, ...]) -> list[str]:
    """Names in a table of edges that are no genes of the data; raises if every edge has one."""
    pairs = table[list(edge_columns(table))].dropna().astype(str)
    is_known = pairs.isin(set(genes))
    names = list(dict.fromkeys(pairs.to_numpy()[~is_known.to_numpy()]))
    if len(pairs) and not is_known.all(axis=1).any():
        msg = (
            f"None of the {len(pairs):,} edges is between genes of the data: these do not have {names[0]!r}, but "
            f"{genes[0]!r}. {mismatch_hint(names, genes, what='names of the edges')}"
        )
        raise PriorError(msg.rstrip())
    return names


def _n_unknown(network: PriorNetwork) -> int:
    """Edges left out for a gene that the data do not have; with both genes unknown, an edge still counts once."""
    report = network.report
    other = sum(report.get(name, 0) for name in ("unnamed", "self_loops", "duplicates"))
    return report.get("edges_given", network.n_edges) - other - network.n_edges


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
        raise ArgumentError(msg, page="groups")
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
        raise MissingKeyError(msg, page="groups")
    highest = networks[0]
    for matrix in networks[1:]:
        highest = highest.maximum(matrix)
    highest = highest.tocoo()
    # In the stored precision: 0.7 as float32 is below 0.7 as float64.
    kept = (highest.data >= np.float32(min_probability)) & (highest.row != highest.col) & (highest.data > 0)
    if not kept.any():
        msg = f"No edge of .varp[{key!r}] is as likely as min_probability={min_probability!r}: lower it."
        raise ArgumentError(msg, page="groups")
    return highest.row[kept].astype(np.int64), highest.col[kept].astype(np.int64), -highest.data[kept].astype(float)


def keep_likeliest(edges: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many regulators of a target, the likeliest; sorted by target, then source."""
    place = edges.sort_values(["target", "rank", "source"]).groupby("target").cumcount()
    kept = edges[place.reindex(edges.index) < most]
    if len(kept) < len(edges):
        warn_user(
            f"{len(edges) - len(kept):,} of {len(edges):,} edges are not tested: of a target, the {most} likeliest "
            f"regulators are compared (max_regulators=, and no more than one for {CELLS_PER_REGULATOR} cells)."
        )
    return kept.sort_values(["target", "source"], ignore_index=True)


def log_odds(probability: pd.Series) -> np.ndarray:
    """Log-odds, a probability of 0 or 1 being taken as that next to it in ``float32``."""
    from scipy.special import logit

    least = float(np.finfo(np.float32).eps)
    values: np.ndarray = logit(np.clip(probability.to_numpy(dtype=np.float64), least, 1 - least))
    return values
