"""Columns of an AnnData taken out, or added to others; the AnnData changes at once or not at all."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scgrn_tl.core import ArgumentError, summarize_expression

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

__all__ = ["check_summable", "replace_contents", "update_mudata", "with_columns"]


def check_summable(adata: AnnData) -> None:
    """Raise :class:`ArgumentError` unless ``X`` and all layers are counts in memory, which alone can be added up."""
    layers = {f"layers[{key!r}]": adata.layers[key] for key in adata.layers if key is not None}
    for where, matrix in {"X": adata.X, **layers}.items():
        if matrix is None:
            continue
        if not (isinstance(matrix, np.ndarray) or sparse.issparse(matrix)):
            msg = f'duplicates="sum" needs values in memory: {where} is a {type(matrix).__name__}. Use `.to_memory()`.'
            raise ArgumentError(msg)
        if not summarize_expression(matrix, adata.obs_names, adata.var_names).is_counts:
            msg = (
                f'duplicates="sum" adds up counts, but {where} holds other values. Resolve names before normalising, '
                'take that layer out, or use duplicates="drop" or "keep".'
            )
            raise ArgumentError(msg)


def with_columns(adata: AnnData, kept: np.ndarray, into: np.ndarray | None = None) -> AnnData:
    """A copy of ``adata`` with the columns ``kept`` (ascending indices).

    With ``into`` (``int64[G]``: for each column the kept one that it is added to), the values of ``X`` and of all
    layers are summed.
    """
    fresh = adata[:, kept].copy()
    if into is not None:
        place = np.searchsorted(kept, into)
        adding = sparse.csr_matrix(
            (np.ones(len(into), dtype=np.int8), (np.arange(len(into)), place)), shape=(len(into), len(kept))
        )
        if adata.X is not None:
            fresh.X = _added_up(adata.X, adding)
        for key in adata.layers:
            if key is not None:
                fresh.layers[key] = _added_up(adata.layers[key], adding)
    return fresh


def _added_up(matrix: Any, adding: sparse.csr_matrix) -> Any:
    """``matrix @ adding`` of the kind of ``matrix``, and of its dtype unless that is of small integers."""
    dtype = matrix.dtype if matrix.dtype.kind == "f" else np.promote_types(matrix.dtype, np.int32)
    adding = adding.astype(dtype)
    if not sparse.issparse(matrix):
        return np.ascontiguousarray((adding.T @ np.asarray(matrix).T).T)
    return (matrix @ adding).asformat(matrix.format)


def replace_contents(adata: AnnData, fresh: AnnData) -> None:
    """Make ``adata`` what ``fresh`` is, as :func:`scanpy.pp.filter_genes` does in place; ``raw`` stays."""
    adata._init_as_actual(fresh)


def update_mudata(mdata: MuData) -> None:
    """Let a MuData see the columns that its part has now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # what update() pulls will change, which does not matter here
        mdata.update()
