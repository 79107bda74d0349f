"""Rows of a matrix that is stored by columns, turned around once in temporary files."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["RowStore", "column_blocks"]

LOGGER = logging.getLogger(__name__)

BLOCK_ENTRIES = 2**23
"""Most entries of the column-stored matrix that are read at a time: 64 MiB as float32 with their row numbers."""
BUCKET_VALUES = 2**25
"""Most cells × genes of the rows that are sorted in memory together."""
LEAST_BLOCKS = 16
"""A smaller matrix is divided into so many blocks and buckets at least, so that it takes less memory."""


class RowStore:
    """A sparse matrix in temporary files, row after row; the files go when the object does.

    Parameters
    ----------
    folder
        Holds ``data`` and ``indices``, as :meth:`from_columns` writes them.
    indptr
        ``int64[N + 1]``, where each row begins.
    n_columns
        G.
    dtype
        Of the values.
    """

    def __init__(self, folder: Path, indptr: np.ndarray, n_columns: int, dtype: np.dtype) -> None:
        self._folder = folder
        self._indptr = indptr
        self.shape = (len(indptr) - 1, n_columns)
        self.dtype = dtype
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def __repr__(self) -> str:
        return f"RowStore({self.shape[0]:,} × {self.shape[1]:,} {self.dtype}, {self._indptr[-1]:,} entries)"

    @classmethod
    def from_columns(
        cls, blocks: Iterable[tuple[int, Any]], shape: tuple[int, int], dtype: np.dtype | type
    ) -> RowStore:
        """Turn a matrix around that comes in blocks of columns, in two passes over its entries and flat memory.

        Parameters
        ----------
        blocks
            Number of the first column, and the columns ``(N, b)``, dense or sparse; in ascending order.
        shape, dtype
            Of the matrix.
        """
        n_rows, n_columns = shape
        dtype = np.dtype(dtype)
        folder = Path(tempfile.mkdtemp(prefix="scgrn_tl-rows-"))
        LOGGER.info("The matrix is stored by columns: its rows are written once to %s, and removed at the end.", folder)
        step = max(1, min(BUCKET_VALUES // max(1, n_columns), -(-n_rows // LEAST_BLOCKS)))
        entry = np.dtype([("row", np.int32), ("column", np.int32), ("value", dtype)])
        indptr = np.zeros(n_rows + 1, dtype=np.int64)
        try:
            for first, block in blocks:
                _spread(folder, sparse.csr_matrix(block), first, step, entry)
            with (folder / "data").open("wb") as values, (folder / "indices").open("wb") as columns:
                for start in range(0, n_rows, step):
                    stop = min(start + step, n_rows)
                    rows = _sorted_rows(folder / f"bucket-{start}", (stop - start, n_columns), entry)
                    rows.data.astype(dtype, copy=False).tofile(values)
                    rows.indices.astype(np.int32, copy=False).tofile(columns)
                    indptr[start + 1 : stop + 1] = indptr[start] + rows.indptr[1:]
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(folder, indptr, n_columns, dtype)

    def __getitem__(self, rows: slice) -> sparse.csr_matrix:
        """The rows of a slice without a step."""
        start, stop, _ = rows.indices(self.shape[0])
        first, last = int(self._indptr[start]), int(self._indptr[max(start, stop)])
        values, columns = (
            np.fromfile(self._folder / name, dtype, last - first, offset=first * np.dtype(dtype).itemsize)
            for name, dtype in (("data", self.dtype), ("indices", np.int32))
        )
        indptr = self._indptr[start : max(start, stop) + 1] - first
        return sparse.csr_matrix((values, columns, indptr), shape=(len(indptr) - 1, self.shape[1]))


def _spread(folder: Path, block: sparse.csr_matrix, first: int, step: int, entry: np.dtype) -> None:
    """Append a block's entries to the files of the rows that they are in."""
    for start in range(0, block.shape[0], step):
        stop = min(start + step, block.shape[0])
        begin, end = block.indptr[start], block.indptr[stop]
        if begin == end:
            continue
        entries = np.empty(end - begin, dtype=entry)
        entries["row"] = np.repeat(np.arange(stop - start, dtype=np.int32), np.diff(block.indptr[start : stop + 1]))
        entries["column"] = block.indices[begin:end] + first
        entries["value"] = block.data[begin:end]
        with (folder / f"bucket-{start}").open("ab") as file:
            entries.tofile(file)


def _sorted_rows(bucket: Path, shape: tuple[int, int], entry: np.dtype) -> sparse.csr_matrix:
    """The rows of one bucket, whose file is removed."""
    if not bucket.is_file():
        return sparse.csr_matrix(shape, dtype=entry["value"])
    entries = np.fromfile(bucket, entry)
    bucket.unlink()
    return sparse.coo_matrix((entries["value"], (entries["row"], entries["column"])), shape=shape).tocsr()


def column_blocks(matrix: Any) -> Iterator[tuple[int, Any]]:
    """Blocks of columns of a CSC matrix on disk or a dask array, in the order and the pieces they are stored in."""
    if hasattr(matrix, "chunks"):
        bounds = np.cumsum([0, *matrix.chunks[1]])
    else:
        stored = np.asarray(matrix.group["indptr"][...], dtype=np.int64)
        block_entries = min(BLOCK_ENTRIES, max(1, int(stored[-1]) // LEAST_BLOCKS))
        cuts = np.searchsorted(stored, np.arange(block_entries, stored[-1], block_entries))
        bounds = np.unique([0, *cuts, len(stored) - 1])
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        block = matrix[:, start:stop]
        yield start, block.compute() if hasattr(block, "compute") else block
