"""Where a stored network is found: the slots that ``sg.tl`` writes, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from scgrn_tl.core import ArgumentError, MissingKeyError, check_unique_genes
from scgrn_tl.core.names import did_you_mean
from scgrn_tl.core.user_warning import warn_user

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

__all__ = ["EVIDENCE", "StoredNetwork", "Threshold", "n_renamed", "read_network", "read_record", "stored_prior"]

Threshold = float | Literal["auto"] | None

EVIDENCE = ("low", "high", "stability", "n_cells")
"""What :func:`scgrn_tl.tl.edge_evidence` keeps of each pair."""

_WRITTEN_BY = "`sg.tl.fit_grn` or `sg.tl.infer_grn`"


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network as it stands in an AnnData.

    Attributes
    ----------
    genes
        ``object[G]``, the gene names.
    matrix
        ``varp[key]`` as ``float32`` in CSR form, G×G; the row regulates the column.
    specificity, std, sign
        ``varp[f"{key}_specificity"]`` and so on, in CSR form; ``None`` where that slot is not there.
    is_regulator
        ``bool[G]``: the genes that were scored as regulators.
    prior
        The prior's edges among the genes, ``source, target, sign``; ``None`` for a network made without one.
    evidence
        ``"low"``, ``"high"``, ``"stability"``, ``"n_cells"`` → ``varp[f"{key}_low"]`` and so on, in CSR form, of
        :func:`scgrn_tl.tl.edge_evidence`; empty where the record does not tell of it.
    holds_probabilities
        Whether the values are probabilities: what the record beside the network says, else whether all of them lie
        between 0 and 1.
    """

    genes: np.ndarray
    matrix: sparse.csr_matrix
    specificity: sparse.csr_matrix | None
    std: sparse.csr_matrix | None
    sign: sparse.csr_matrix | None
    is_regulator: np.ndarray
    prior: pd.DataFrame | None
    evidence: Mapping[str, sparse.csr_matrix]
    holds_probabilities: bool

    def threshold(self, key: str, min_probability: Threshold) -> float | None:
        """The least probability of an edge: for ``"auto"`` 0.5, or ``None`` where scores are stored under ``key``.

        Raises
        ------
        ArgumentError
            If it is not between 0 and 1, or one is given for scores.
        """
        if isinstance(min_probability, str) and min_probability == "auto":
            return 0.5 if self.holds_probabilities else None
        if min_probability is None:
            return None
        if not isinstance(min_probability, Real) or not 0 <= min_probability <= 1:
            msg = f"min_probability={min_probability!r} is not between 0 and 1."
            raise ArgumentError(msg)
        if not self.holds_probabilities:
            low, high = (self.matrix.data.min(), self.matrix.data.max()) if self.matrix.nnz else (0.0, 0.0)
            msg = (
                f".varp[{key!r}] holds scores from {low:.3g} to {high:.3g}, not probabilities. "
                "Give min_probability=None, and top_n= to take the best."
            )
            raise ArgumentError(msg)
        return float(min_probability)


def read_record(adata: AnnData, key: str) -> Mapping[str, Any]:
    """``uns[key]``, the record that was written beside the network.

    Raises
    ------
    MissingKeyError
        If it is not there.
    """
    if key not in adata.uns:
        msg = f"Did not find .uns[{key!r}]. Run {_WRITTEN_BY} first. Keys of .uns: {sorted(map(str, adata.uns))}."
        raise MissingKeyError(msg)
    record: Mapping[str, Any] = adata.uns[key]
    return record


def read_network(adata: AnnData, key: str) -> StoredNetwork:
    """The network stored under ``key``.

    Warns where what stood beside it, its record or the names of its genes, is no longer there: signs are unknown then.

    Raises
    ------
    MissingKeyError
        If there is no ``varp[key]``.
    ArgumentError
        If ``varp[key]`` is not a numeric matrix.
    DuplicateGenesError
        If ``var_names`` are not unique.
    """
    if key not in adata.varp:
        msg = (
            f"Did not find .varp[{key!r}].{_nearest(adata, key)} Run {_WRITTEN_BY} first. Keys of .varp: "
            f"{sorted(adata.varp)}."
        )
        raise MissingKeyError(msg)
    check_unique_genes(tuple(adata.var_names))
    matrix = _as_csr(adata.varp[key], f".varp[{key!r}]")
    flag = f"{key}_is_tf"
    is_regulator = adata.var[flag].to_numpy(dtype=bool) if flag in adata.var else np.diff(matrix.indptr) > 0
    if flag in adata.var:
        _warn_of_what_is_lost(adata, key)
    return StoredNetwork(
        genes=adata.var_names.to_numpy(dtype=object),
        matrix=matrix,
        specificity=_beside(adata, key, "specificity"),
        std=_beside(adata, key, "std"),
        sign=_beside(adata, key, "sign"),
        is_regulator=is_regulator,
        prior=stored_prior(adata, key),
        evidence=_evidence(adata, key),
        holds_probabilities=_holds_probabilities(adata, key, matrix),
    )


def _nearest(adata: AnnData, key: str) -> str:
    """Which network may be meant, as a sentence; empty where none is near."""
    clean = str(key).replace("/", "_")
    if clean in adata.varp:
        return f" In keys, '/' is '_': there is .varp[{clean!r}]."
    return did_you_mean(str(key), adata.varp)


def _beside(adata: AnnData, key: str, name: str) -> sparse.csr_matrix | None:
    slot = f"{key}_{name}"
    return _as_csr(adata.varp[slot], f".varp[{slot!r}]") if slot in adata.varp else None


def _evidence(adata: AnnData, key: str) -> dict[str, sparse.csr_matrix]:
    record = adata.uns.get(key)
    if not hasattr(record, "get") or "evidence" not in record:
        return {}  # a group of cells called "low" has its network where the bound would be
    found = {name: _beside(adata, key, name) for name in EVIDENCE}
    return {name: matrix for name, matrix in found.items() if matrix is not None}


def _as_csr(values: Any, slot: str) -> sparse.csr_matrix:
    # csr_matrix and csr_array index differently: everything below sees the former.
    if getattr(values, "dtype", None) is None or np.dtype(values.dtype).kind not in "biuf":
        msg = (
            f"{slot} is a {type(values).__name__}; a numeric genes × genes matrix is expected. "
            "Name the key of a network, such as `sg.tl.fit_grn` writes (`key=`)."
        )
        raise ArgumentError(msg)
    return sparse.csr_matrix(values, dtype=np.float32)


def stored_prior(adata: AnnData, key: str) -> pd.DataFrame | None:
    """The edges of ``uns[key]["prior"]``; ``None`` for a network made without a prior, or without its record."""
    record = adata.uns.get(key)
    prior = record.get("prior") if hasattr(record, "get") else None
    return prior if isinstance(prior, pd.DataFrame) else None


def n_renamed(adata: AnnData, key: str) -> int:
    """How many genes of the prior under ``key`` go by another name since.

    Genes may also have been left out since. Where there are not as many as the network was made of (or the record does
    not say how many), a name that is missing tells nothing, but that not one is known does.
    """
    prior = stored_prior(adata, key)
    if prior is None or not len(prior):
        return 0
    names = pd.Index(prior["source"].astype(str)).union(prior["target"].astype(str), sort=False).unique()
    n_missing = int((~names.isin(adata.var_names)).sum())
    n_genes = adata.uns[key].get("data", {}).get("n_genes")
    return n_missing if n_missing == len(names) or n_genes == adata.n_vars else 0


def _warn_of_what_is_lost(adata: AnnData, key: str) -> None:
    if key not in adata.uns:
        warn_user(
            f".varp[{key!r}] has lost its record, .uns[{key!r}]: which edges are in the prior, and which repress, is "
            "unknown, so that every edge counts as activating. Take the record along, in `ad.concat` by "
            "`merge='same', uns_merge='same'`."
        )
    elif n_missing := n_renamed(adata, key):
        warn_user(
            f"Genes were renamed since the network .varp[{key!r}] was made: {n_missing:,} of its prior's are not in "
            "var_names. Their edges count as activating, and as not in the prior. Rename the sources and targets in "
            f"`adata.uns[{key!r}]['prior']` as well, or run `sg.tl.fit_grn` again."
        )


def _holds_probabilities(adata: AnnData, key: str, matrix: sparse.csr_matrix) -> bool:
    record = adata.uns.get(key)
    values = record.get("values") if hasattr(record, "get") else None
    if isinstance(values, str):
        return values == "probability"
    return not matrix.nnz or bool((matrix.data >= 0).all() and (matrix.data <= 1).all())
