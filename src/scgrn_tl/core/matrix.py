"""The door to expression matrices: blocks of cells out of any matrix an AnnData can hold."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .argument_types import typed_arguments
from .damaged import refuse_damaged
from .errors import ArgumentError, ExpressionError, MissingKeyError
from .log_scale import constant_totals
from .row_store import RowStore, column_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from anndata import AnnData

__all__ = ["ExpressionSummary", "by_rows", "expression_matrix", "iter_cells", "summarize_expression", "to_dense"]

WRITE_AGAIN = "Write the file again, or take a copy of it that is whole."
BLOCK_VALUES = 2**21
"""Values of a block read at a time where the caller names no size: 16 MiB as float64."""
CHUNK_VALUES = 2**26
"""Values of a row of stored chunks up to which the chunks are read whole, each once."""


@typed_arguments
def expression_matrix(adata: AnnData, layer: str | None = None) -> Any:
    """``adata.X``, or ``adata.layers[layer]``, as it is stored (cells × genes).

    Raises
    ------
    ArgumentError
        If ``adata`` is no AnnData.
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
        msg = (
            f"The AnnData has {adata.n_obs} cells and {adata.n_vars} genes; at least one of each is needed. "
            "Look at what filtered them out: `adata.shape` before each step."
        )
        raise ExpressionError(msg)
    return matrix


def to_dense(block: Any, dtype: Any = np.float32) -> np.ndarray:
    """A new C-contiguous array of ``dtype``, whatever ``block`` was (dense, sparse, a view, a dask array)."""
    if hasattr(block, "compute"):
        block = block.compute()
    if sparse.issparse(block):
        return np.ascontiguousarray(block.toarray(), dtype=dtype)
    return np.array(block, dtype=dtype, order="C", subok=False)


def by_rows(matrix: Any) -> Any:
    """``matrix`` in a form whose rows are cheap to read in order. Call it once, then walk over the rows often.

    A CSC matrix in memory is converted. Of one in a file, and of a dask array whose chunks are of columns, the rows are
    written to temporary files, which go when the object does; see :class:`RowStore`. Anything else is given back.
    """
    if sparse.issparse(matrix):
        _check_indices(matrix)
        return matrix if matrix.format == "csr" else matrix.tocsr()
    tall = hasattr(matrix, "compute") and len(matrix.chunks[1]) > 1 and not _fits(max(matrix.chunks[0]), matrix)
    if tall or getattr(matrix, "format", None) == "csc":
        with refuse_damaged("Expression, stored by columns,", WRITE_AGAIN, error=ExpressionError):
            return RowStore.from_columns(column_blocks(matrix), matrix.shape, matrix.dtype)
    return matrix


def _fits(n_rows: int, matrix: Any) -> bool:
    return n_rows * matrix.shape[1] <= CHUNK_VALUES


def _spans(matrix: Any, n_rows: int) -> list[int]:
    """Bounds of the rows to read together: about ``n_rows``, but whole chunks where the matrix is stored in chunks."""
    chunks: Any = getattr(matrix, "chunks", None)
    if hasattr(matrix, "compute"):
        ends = np.cumsum(chunks[0])
    elif chunks and n_rows % chunks[0] and _fits(chunks[0], matrix):
        ends = np.append(np.arange(chunks[0], matrix.shape[0], chunks[0]), matrix.shape[0])
    else:
        return [*range(0, matrix.shape[0], n_rows), matrix.shape[0]]
    bounds = [0]
    for end in ends.tolist():
        if end - bounds[-1] >= n_rows or end == matrix.shape[0]:
            bounds.append(end)
    return bounds


def _read_spans(matrix: Any, n_rows: int, rows: slice, cells: np.ndarray | None = None) -> Iterator[tuple[int, Any]]:
    """First row and rows of one span after another, in memory; spans without any of ``cells`` (ascending) are left out.

    ``rows`` has no step; spans begin and end with it.
    """
    first, last, _ = rows.indices(matrix.shape[0])
    bounds = _spans(matrix, max(1, n_rows)) if matrix.shape[0] else [0]
    bounds = [first, *(bound for bound in bounds if first < bound < last), last]
    for start, stop in pairwise(bounds):
        if stop == start or (cells is not None and np.searchsorted(cells, start) == np.searchsorted(cells, stop)):
            continue
        yield start, _read_rows(matrix, start, stop)


def _read_rows(matrix: Any, start: int, stop: int) -> Any:
    if hasattr(matrix, "compute"):
        return matrix[start:stop].compute()
    with refuse_damaged(f"Expression of cells {start:,} to {stop:,}", WRITE_AGAIN, error=ExpressionError):
        block = matrix[start:stop]
    if sparse.issparse(block):
        _check_indices(block)
    return block


@typed_arguments
def iter_cells(
    matrix: Any,
    *,
    columns: np.ndarray | None = None,
    batch_size: int = 1024,
    dtype: Any = np.float32,
    cells: np.ndarray | None = None,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Walk over the cells of a matrix in blocks.

    Parameters
    ----------
    matrix
        Cells × genes: a dense array, any scipy sparse matrix or array, a backed AnnData's matrix (HDF5 or zarr, dense
        or sparse), a dask array, or a view of one of these; any numeric dtype. To walk more than once, pass what
        :func:`by_rows` gives.
    columns
        ``int64[T]``, the genes to take, in the order wanted. All of them if ``None``.
    batch_size
        Most cells in a block. Stored chunks are read whole, each once, and may end a block early.
    dtype
        Of the blocks.
    cells
        Ascending row numbers; what holds none of them may be left out. ``None`` for all rows.

    Yields
    ------
    The block's rows as a slice, and a new dense array ``(B, T)``. The matrix itself is never changed.

    Raises
    ------
    ExpressionError
        If ``matrix`` is none.
    ArgumentError
        If ``batch_size`` is below 1, ``columns`` or ``cells`` are no positions, or ``dtype`` is no numeric type.
    """
    _check_matrix(matrix)
    try:
        numeric = np.dtype(dtype).kind in "biuf"
    except TypeError:
        numeric = False
    if not numeric:
        msg = f"dtype is a numeric type, such as np.float32, not {dtype!r}."
        raise ArgumentError(msg)
    if batch_size < 1:
        msg = f"batch_size is a whole number of at least 1, not {batch_size!r}."
        raise ArgumentError(msg)
    for name, positions in (("columns", columns), ("cells", cells)):
        if positions is not None and (positions.ndim != 1 or (len(positions) and positions.dtype.kind not in "iu")):
            msg = f"{name} are positions, an array of whole numbers; got {positions.dtype}, shape {positions.shape}."
            raise ArgumentError(msg)
    for start, span in _read_spans(by_rows(matrix), batch_size, slice(None), cells):
        for first in range(0, span.shape[0], batch_size):
            block = span[first : first + batch_size]
            if columns is not None:
                block = block[:, columns]
            yield slice(start + first, start + first + block.shape[0]), to_dense(block, dtype)


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
    constant_totals
        What :func:`~scgrn_tl.core.log_scale.constant_totals` found in the first cells; empty for counts.
    """

    totals: np.ndarray
    is_counts: bool
    maximum: float
    constant_totals: Mapping[str, float] = field(default_factory=dict)

    @property
    def empty_cells(self) -> np.ndarray:
        """``bool[N]``, the cells in which every gene is zero."""
        return self.totals == 0


@typed_arguments
def summarize_expression(
    matrix: Any,
    obs_names: Sequence[str] | None = None,
    var_names: Sequence[str] | None = None,
    *,
    rows: slice = slice(None),
    mend: Callable[[], str] | None = None,
) -> ExpressionSummary:
    """Check an expression matrix in one streaming pass, and sum up its cells.

    Parameters
    ----------
    matrix
        Cells × genes, of any kind that :func:`iter_cells` takes.
    obs_names, var_names
        The names of cells and genes that an error gives; their positions if ``None``.
    rows
        The cells to look at; the totals of others are left at 0.
    mend
        Called for what the error about a negative value says to do, such as
        :func:`~scgrn_tl.core.expression_places.usable_expression`.

    Raises
    ------
    ArgumentError
        If ``rows`` is no slice.
    ExpressionError
        At the first cell and gene whose value is negative, NaN or infinite, naming both; or if values are no numbers.
    """
    _check_matrix(matrix)
    dtype = getattr(matrix, "dtype", np.dtype(float))
    if np.dtype(dtype).kind not in "biuf":
        msg = (
            f"Expression has dtype {dtype}; it has to be numeric. "
            "Convert it, `adata.X = adata.X.astype('float32')`, or name a layer of numbers (`layer=`)."
        )
        raise ExpressionError(msg)
    n_cells, n_genes = matrix.shape
    totals = np.zeros(n_cells)
    is_counts, maximum, constant = True, 0.0, None
    for start, block in _read_spans(by_rows(matrix), BLOCK_VALUES // max(1, n_genes), rows):
        values = block.data if sparse.issparse(block) else np.asarray(block)
        if not (values.size == 0 or (np.isfinite(values).all() and values.min() >= 0)):
            _raise_first_bad_value(to_dense(block, np.float64), start, obs_names, var_names, mend)
        totals[start : start + block.shape[0]] = np.asarray(block.sum(axis=1, dtype=np.float64)).ravel()
        if values.size:
            is_counts = is_counts and bool((values == np.rint(values)).all())
            maximum = max(maximum, float(values.max()))
        if constant is None:
            constant = {} if is_counts else constant_totals(block)
    return ExpressionSummary(totals, is_counts, maximum, constant or {})


def _check_indices(matrix: Any) -> None:
    """Raise :class:`ExpressionError` where a sparse matrix points outside of itself, at which scipy crashes Python."""
    if matrix.format not in ("csr", "csc"):
        return
    n_major, n_minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    indptr, indices = matrix.indptr, matrix.indices
    sound = len(indptr) == n_major + 1 and indptr[0] == 0 and bool((np.diff(indptr) >= 0).all())
    sound = sound and indptr[-1] <= min(len(indices), len(matrix.data))
    if not sound or (len(indices) and (indices.min() < 0 or indices.max() >= n_minor)):
        msg = f"The sparse expression matrix is damaged: its indices point outside of {matrix.shape}. {WRITE_AGAIN}"
        raise ExpressionError(msg)


def _check_matrix(matrix: Any) -> None:
    """Raise :class:`ExpressionError` unless ``matrix`` has two axes and is no table."""
    if hasattr(matrix, "iloc") or len(getattr(matrix, "shape", ())) != 2:
        msg = (
            f"The expression matrix is an array or a sparse matrix, cells × genes, not a {type(matrix).__name__}. Of a "
            "DataFrame, hand over `.to_numpy()`."
        )
        raise ExpressionError(msg)


def _raise_first_bad_value(
    block: np.ndarray,
    start: int,
    obs_names: Sequence[str] | None,
    var_names: Sequence[str] | None,
    mend: Callable[[], str] | None,
) -> None:
    bad = ~np.isfinite(block) | (block < 0)
    row, column = map(int, np.argwhere(bad)[0])
    value = block[row, column]
    kind = "NaN" if np.isnan(value) else "infinite" if np.isinf(value) else "negative"
    cell = start + row
    where = f"cell {obs_names[cell]!r}" if obs_names is not None else f"cell {cell}"
    gene = f"gene {var_names[column]!r}" if var_names is not None else f"gene {column}"
    if kind != "negative":
        advice = "Set such values to 0, or drop those cells."
    else:
        advice = (
            "Scaled (z-scored) values cannot be used: pass counts or log-normalised values, for instance with `layer=`."
        )
        advice += f" {mend()}" if mend is not None else ""
    msg = f"Expression has a {kind} value ({value:g}) at {where}, {gene}. {advice}"
    raise ExpressionError(msg)
