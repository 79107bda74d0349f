"""The edges of a stored network as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, open_anndata
from scgrn_tl.core.argument_types import typed_arguments

from ._slots import StoredNetwork, Threshold, read_network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from mudata import MuData
    from scipy import sparse

__all__ = ["grn_df"]


@typed_arguments
def grn_df(
    adata: AnnData | MuData,
    *,
    key: str = "grn",
    tfs: str | Iterable[str] | None = None,
    targets: str | Iterable[str] | None = None,
    min_probability: Threshold = "auto",
    top_n: int | None = None,
    modality: str = "rna",
) -> pd.DataFrame:
    """Edges of the network stored by :func:`scgrn_tl.tl.fit_grn` or :func:`scgrn_tl.tl.infer_grn`, the likeliest first.

    Parameters
    ----------
    adata
        Annotated data with ``varp[key]``, or a MuData whose ``modality`` has it.
    key
        Where the network is stored.
    tfs, targets
        One name or several: keep only edges out of these regulators, into these genes.
    min_probability
        Keep edges of at least this probability; ``None`` keeps every edge stored. ``"auto"`` is 0.5, and ``None`` for a
        network of scores that are no probabilities.
    top_n
        Keep only that many edges, after all the other choices.
    modality
        Which modality to read if ``adata`` is a MuData.

    Returns
    -------
    One row per edge, by falling probability; ties by falling specificity, then by names. It is a decoupler network as
    it stands (``source``, ``target``, ``weight``).

    ``source``, ``target`` : str
        Regulator and regulated gene.
    ``weight`` : float32
        ``probability`` times ``sign`` where the sign is known, else ``probability``: an edge of unknown sign counts as
        activating, as unsigned networks do in decoupler. Restrict to ``sign != 0`` if that is not wanted.
    ``probability`` : float32
        Calibrated probability of the edge. NaN if the network holds other scores; ``weight`` and the order of the rows
        then come from the score.
    ``specificity`` : float32
        Log-odds beyond what the hub rates of the two genes explain (``varp[f"{key}_specificity"]``); NaN if not stored.
    ``sign`` : int8
        1 activates, −1 represses, 0 unknown. The sign that the prior gives to this edge; else that of
        ``varp[f"{key}_sign"]`` if there is one. It is never guessed from expression.
    ``in_prior`` : bool
        Whether the edge stands in the prior network that the model was fitted with.
    ``std`` : float32
        Spread over the models of an ensemble; only if ``varp[f"{key}_std"]`` is stored.
    ``prior_sources`` : str
        Which priors the edge stands in, such as ``"chip;collectri"``; empty for an edge in none. Only if the model was
        fitted with several.
    ``low``, ``high``, ``stability`` : float32
        Interval of the probability over resampled cells, and the share of the resamples that call the edge; only after
        :func:`scgrn_tl.tl.edge_evidence`.
    ``n_cells`` : int64
        Cells in which both genes are found; likewise.

    Raises
    ------
    MissingKeyError
        If no network is stored under ``key``, or the MuData lacks the modality.
    ArgumentError
        If a name is unknown, a regulator was not scored, or a threshold cannot be used.

    Examples
    --------
    >>> net = sg.get.grn_df(adata, top_n=1000)  # doctest: +SKIP
    >>> dc.mt.ulm(adata, net)  # doctest: +SKIP
    """
    if top_n is not None and top_n < 1:
        msg = f"top_n={top_n!r} is not a positive whole number."
        raise ArgumentError(msg)
    network = read_network(open_anndata(adata, modality=modality), key)
    rows = _gene_mask(tfs, "tfs", network)
    columns = _gene_mask(targets, "targets", network)
    _check_scored(rows if tfs is not None else None, network, key)
    least = network.threshold(key, min_probability)

    edges = network.matrix.tocoo()
    kept = (edges.data != 0) & rows[edges.row] & columns[edges.col]
    if least is not None:
        # In the stored precision: 0.7 as float32 is below 0.7 as float64.
        kept &= edges.data >= np.float32(least)
    source, target, value = edges.row[kept], edges.col[kept], edges.data[kept]
    specificity = _values_at(network.specificity, source, target)

    rank = np.empty(len(network.genes), dtype=np.int64)
    rank[np.argsort(network.genes.astype(str), kind="stable")] = np.arange(len(network.genes))
    order = np.lexsort((rank[target], rank[source], -specificity, -value))[:top_n]
    source, target = source[order], target[order]
    value, specificity = value[order], specificity[order]

    in_prior, sign = _prior_of(network, source, target)
    frame = pd.DataFrame(
        {
            "source": network.genes[source],
            "target": network.genes[target],
            "weight": np.where(sign < 0, -value, value),
            "probability": value if network.holds_probabilities else np.full_like(value, np.nan),
            "specificity": specificity,
            "sign": sign,
            "in_prior": in_prior,
        }
    )
    if network.std is not None:
        frame["std"] = _values_at(network.std, source, target)
    if network.prior is not None and "sources" in network.prior:
        frame["prior_sources"] = _sources_of(network.prior, frame)
    for name, matrix in network.evidence.items():
        values = _values_at(matrix, source, target)
        frame[name] = values.astype(np.int64) if name == "n_cells" else values
    return frame


def _gene_mask(names: str | Iterable[str] | None, argument: str, network: StoredNetwork) -> np.ndarray:
    if names is None:
        return np.ones(len(network.genes), dtype=bool)
    wanted = [names] if isinstance(names, str) else [str(name) for name in names]
    found = pd.Index(network.genes).get_indexer(wanted)
    if unknown := [name for name, at in zip(wanted, found, strict=True) if at < 0]:
        msg = (
            f"{argument} has names that are not among the {len(network.genes):,} genes: {_shorten(unknown)}. "
            "`sg.pp.resolve_names(names, vocabulary=adata.var_names)` finds what they go by."
        )
        raise ArgumentError(msg)
    mask = np.zeros(len(network.genes), dtype=bool)
    mask[found] = True
    return mask


def _check_scored(rows: np.ndarray | None, network: StoredNetwork, key: str) -> None:
    if rows is None:
        return
    if unscored := network.genes[rows & ~network.is_regulator].tolist():
        msg = (
            f"tfs has genes that were not scored as regulators: {_shorten(unscored)}. "
            f"The {int(network.is_regulator.sum()):,} regulators of .varp[{key!r}] are "
            f"{_shorten(network.genes[network.is_regulator].tolist())}. "
            "Others are scored with `sg.tl.fit_grn(tf_names=…)`."
        )
        raise ArgumentError(msg)


def _values_at(matrix: sparse.csr_matrix | None, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """``float32[E]``, the entries of a matrix at these places; NaN without a matrix."""
    if matrix is None or not len(rows):
        return np.full(len(rows), np.nan, dtype=np.float32)
    return np.asarray(matrix[rows, columns], dtype=np.float32).ravel()


def _prior_of(network: StoredNetwork, source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``bool[E]`` whether each edge stands in the prior, and its sign ``int8[E]``."""
    stored = (
        np.nan_to_num(_values_at(network.sign, source, target)) if network.sign is not None else np.zeros(len(source))
    )
    sign = np.sign(stored).astype(np.int8)
    in_prior = np.zeros(len(source), dtype=bool)
    if network.prior is None or not len(network.prior):
        return in_prior, sign
    genes = pd.Index(network.genes)
    prior = network.prior
    rows, columns = (genes.get_indexer(prior[name].astype(str)) for name in ("source", "target"))
    known = (rows >= 0) & (columns >= 0)
    n_genes = len(genes)
    signs = prior["sign"].to_numpy(dtype=np.int8) if "sign" in prior else np.zeros(len(prior), dtype=np.int8)
    by_pair = pd.Series(signs[known], index=rows[known].astype(np.int64) * n_genes + columns[known])
    by_pair = by_pair[~by_pair.index.duplicated()]
    at = by_pair.index.get_indexer(source.astype(np.int64) * n_genes + target)
    in_prior = at >= 0
    of_prior = np.zeros(len(source), dtype=np.int8)
    of_prior[in_prior] = by_pair.to_numpy()[at[in_prior]]
    return in_prior, np.where(of_prior != 0, of_prior, sign)


def _sources_of(prior: pd.DataFrame, frame: pd.DataFrame) -> np.ndarray:
    """``object[E]``: the names of the priors that each edge of ``frame`` stands in; empty for none."""
    edges, known = (pd.MultiIndex.from_frame(table[["source", "target"]].astype(str)) for table in (frame, prior))
    sources = pd.Series(prior["sources"].astype(str).to_numpy(dtype=object), index=known)
    return sources[~known.duplicated()].reindex(edges, fill_value="").to_numpy(dtype=object)


def _shorten(names: list[str], limit: int = 10) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
