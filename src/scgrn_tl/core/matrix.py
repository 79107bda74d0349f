"""The door to expression matrices: blocks of cells out of any matrix an AnnData can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .errors import ExpressionError, MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData

__all__ = ["ExpressionSummary", "expression_matrix", "iter_cells", "summarize_expression", "to_dense"]

BLOCK_VALUES = 2**24
"""Values of a block read at a time where the caller names no size: 128 MiB as float64."""


def expression_matrix(adata: AnnData, layer: str | None = None) -> Any:
    """``adata.X``, or ``adata.layers[layer]``, as it is stored (cells × genes).

    Raises
    ------
    MissingKeyError
        If the layer is not there.
    ExpressionError
        If there is no ``X``, or it has no cells or no genes.
    """
    if layer is not None:
        keys = [key for key in adata.layers if key is not None]
        if layer not in keys:
            msg = f"Did not find layers[{layer!r}]. There are: {keys}."
            raise MissingKeyError(msg)
        matrix = adata.layers[layer]
    else:
        matrix = adata.X
        if matrix is None:
            msg = "adata.X is empty; name the layer that holds expression with `layer=`."
            raise ExpressionError(msg)
    if 0 in adata.shape:
        msg = f"The AnnData has {adata.n_obs} cells and {adata.n_vars} genes; at least one of each is needed."
        raise ExpressionError(msg)
    return matrix


def to_dense(block: Any, dtype: Any = np.float32) -> np.ndarray:
    """A new C-contiguous array of ``dtype``, whatever ``block`` was (dense, sparse, a view, a dask array)."""
    if hasattr(block, "compute"):
        block = block.compute()
    if sparse.issparse(block):
        return np.ascontiguousarray(block.toarray(), dtype=dtype)
    return np.array(block, dtype=dtype, order="C", subok=False)


def _by_rows(matrix: Any) -> Any:
    """``matrix`` in a form whose rows are cheap to slice. An in-memory CSC matrix is converted once."""
    if sparse.issparse(matrix) and matrix.format != "csr":
        return matrix.tocsr()
    return matrix


def iter_cells(
    matrix: Any, *, columns: np.ndarray | None = None, batch_size: int = 1024, dtype: Any = np.float32
) -> Iterator[tuple[slice, np.ndarray]]:
    """Walk over the cells of a matrix in blocks.

    Parameters
    ----------
    matrix
        Cells × genes: a dense array, any scipy sparse matrix or array, a backed AnnData's matrix (HDF5 or zarr, dense
        or sparse), a dask array, or a view of one of these; any numeric dtype.
    columns
        ``int64[T]``, the genes to take, in the order wanted. All of them if ``None``.
    batch_size
        Cells in a block.
    dtype
        Of the blocks.

    Yields
    ------
    The block's rows as a slice, and a new dense array ``(B, T)``. The matrix itself is never changed.
    """
    matrix = _by_rows(matrix)
    for start in range(0, matrix.shape[0], batch_size):
        rows = slice(start, min(start + batch_size, matrix.shape[0]))
        block = matrix[rows]
        if columns is None:
            yield rows, to_dense(block, dtype)
        else:
            if hasattr(block, "compute"):
                block = block.compute()
            yield rows, to_dense(block[:, columns], dtype)


@dataclass(frozen=True, eq=False)
class ExpressionSummary:
    """What one pass over an expression matrix tells.

    Attributes
    ----------
    totals
        ``float64[N]``, sum over all genes of each cell.
    is_counts
        Whether every value is a whole number.
    maximum
        Largest value.
    """

    totals: np.ndarray
    is_counts: bool
    maximum: float

    @property
    def empty_cells(self) -> np.ndarray:
        """``bool[N]``, the cells in which every gene is zero."""
        return self.totals == 0


def summarize_expression(
    matrix: Any, obs_names: Sequence[str] | None = None, var_names: Sequence[str] | None = None
) -> ExpressionSummary:
    """Check an expression matrix in one streaming pass, and sum up its cells.

    Parameters
    ----------
    matrix
        Cells × genes, of any kind that :func:`iter_cells` takes.
    obs_names, var_names
        The names of cells and genes that an error gives; their positions if ``None``.

    Raises
    ------
    ExpressionError
        At the first cell and gene whose value is negative, NaN or infinite, naming both; or if values are no numbers.
    """
    dtype = getattr(matrix, "dtype", np.dtype(float))
    if np.dtype(dtype).kind not in "biuf":
        msg = f"Expression has dtype {dtype}; it has to be numeric."
        raise ExpressionError(msg)
    n_cells, n_genes = matrix.shape
    totals = np.zeros(n_cells)
    is_counts, maximum = True, 0.0
    matrix = _by_rows(matrix)
    step = max(1, BLOCK_VALUES // max(1, n_genes))
    for start in range(0, n_cells, step):
        rows = slice(start, min(start + step, n_cells))
        block = matrix[rows]
        if hasattr(block, "compute"):
            block = block.compute()
        values = block.data if sparse.issparse(block) else np.asarray(block)
        if not (values.size == 0 or (np.isfinite(values).all() and values.min() >= 0)):
            _raise_first_bad_value(to_dense(block, np.float64), start, obs_names, var_names)
        totals[rows] = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
        if values.size:
            is_counts = is_counts and bool((values == np.rint(values)).all())
            maximum = max(maximum, float(values.max()))
    return ExpressionSummary(totals, is_counts, maximum)


def _raise_first_bad_value(
    block: np.ndarray, start: int, obs_names: Sequence[str] | None, var_names: Sequence[str] | None
) -> None:
    bad = ~np.isfinite(block) | (block < 0)
    row, column = map(int, np.argwhere(bad)[0])
    value = block[row, column]
    kind = "NaN" if np.isnan(value) else "infinite" if np.isinf(value) else "negative"
    cell = start + row
    where = f"cell {obs_names[cell]!r}" if obs_names is not None else f"cell {cell}"
    gene = f"gene {var_names[column]!r}" if var_names is not None else f"gene {column}"
    mend = (
        "Scaled (z-scored) values cannot be used: pass counts or log-normalised values, for instance with `layer=`."
        if kind == "negative"
        else "Set such values to 0, or drop those cells."
    )
    msg = f"Expression has a {kind} value ({value:g}) at {where}, {gene}. {mend}"
    raise ExpressionError(msg)
