"""Expression of many cells as a GRN task holds it: sparse, read a block of cells at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["is_large_and_sparse", "sparse_genes_by_cells"]

LARGE = 2**26
"""Values from which on expression stays sparse: as a dense float32 array these are 256 MiB."""

_BLOCK_CELLS = 1024


def is_large_and_sparse(matrix: Any) -> bool:
    """Whether a matrix (cells × genes) takes less memory sparse than dense, and enough of it to matter.

    Of what is not in memory, the first block of cells tells.
    """
    n_cells, n_genes = matrix.shape
    if n_cells * n_genes <= LARGE or isinstance(matrix, np.ndarray):
        return False
    first = _rows(matrix, slice(0, min(_BLOCK_CELLS, n_cells)))
    return bool(first.nnz < first.shape[0] * first.shape[1] / 2)


def sparse_genes_by_cells(matrix: Any, totals: np.ndarray | None = None) -> sparse.csc_array:
    """A matrix (cells × genes) turned, as ``float32 (G, N)``; shared with ``matrix`` where that is possible.

    Parameters
    ----------
    matrix
        As :func:`scgrn_tl.core.by_rows` gives it. It is never changed.
    totals
        ``(N,)``, each cell's count, if the values are counts to be normalised to ``log2(1 + 10⁴·count/total)``.
    """
    in_memory = sparse.issparse(matrix) and matrix.format == "csr"
    if in_memory and totals is None and matrix.dtype == np.float32 and matrix.has_canonical_format:
        return sparse.csr_array(matrix).T
    blocks = []
    for start in range(0, matrix.shape[0], _BLOCK_CELLS):
        rows = slice(start, min(start + _BLOCK_CELLS, matrix.shape[0]))
        block = _rows(matrix, rows)
        if totals is not None:
            of_block = totals[rows]
            scale = np.divide(1e4, of_block, out=np.zeros(len(of_block)), where=of_block > 0)
            block.data = np.log2(1 + block.data * np.repeat(scale.astype(np.float32), np.diff(block.indptr)))
        blocks.append(block)
    return sparse.csr_array(sparse.vstack(blocks, format="csr")).T


def _rows(matrix: Any, rows: slice) -> sparse.csr_array:
    """A block of cells as a new CSR array ``float32``."""
    block = matrix[rows]
    if hasattr(block, "compute"):
        block = block.compute()
    block = sparse.csr_array(block, dtype=np.float32, copy=True)
    block.sum_duplicates()
    return block
