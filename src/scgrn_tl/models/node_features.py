"""What the graph knows of a gene before any message: its expression (model.md §5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GeneFeatures", "MomentScale", "gene_features", "gene_moments", "gene_profile"]

GeneFeatures = Literal["pca", "expression"]

MAX_CELLS = 2048
"""Beyond as many cells, ``"expression"`` is reduced to :data:`MAX_COMPONENTS` components."""
MAX_COMPONENTS = 512
GRAM_GENES = 4096
"""Up to as many genes, components of sparse expression come from the genes' covariance, which is exact."""

_BLOCK_CELLS = 1024
_BLOCK_ENTRIES = 2**22


def gene_moments(expression: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, population standard deviation and share of non-zero cells of each gene of a genes × cells matrix."""
    n_cells = expression.shape[1]
    if sparse.issparse(expression):
        sums = np.zeros((3, expression.shape[0]))
        for gene, values in _cell_blocks(expression):
            for row, of_value in zip(sums, (values, values**2, values != 0), strict=True):
                row += np.bincount(gene, weights=of_value, minlength=len(row))
        mean, mean_square, detected = sums / n_cells
        return mean, np.sqrt(np.maximum(mean_square - mean**2, 0)), detected
    mean = expression.mean(axis=1, dtype=np.float64)
    std = expression.std(axis=1, dtype=np.float64)
    return mean, std, np.count_nonzero(expression, axis=1) / n_cells


class MomentScale(NamedTuple):
    """How mean, spread and share of expressing cells were standardised over the genes of one dataset."""

    mean: np.ndarray
    """``float64 (3,)``."""
    std: np.ndarray
    """``float64 (3,)``."""

    @classmethod
    def fit(cls, moments: np.ndarray) -> MomentScale:
        """Of ``moments (G, 3)``."""
        return cls(moments.mean(0), moments.std(0))

    def apply(self, moments: np.ndarray) -> np.ndarray:
        """``(G, 3)``, of the same genes or of others."""
        standard: np.ndarray = (moments - self.mean) / np.maximum(self.std, 1e-8)
        return standard


@typed_arguments
def gene_features(expression: Any, *, kind: GeneFeatures = "pca", n_components: int = 32, seed: int = 0) -> np.ndarray:
    """Node features of every gene.

    Parameters
    ----------
    expression
        Genes × cells, dense or sparse.
    kind
        ``"pca"``: the gene's loadings on the leading components of the z-scored expression, and its standardised mean,
        spread and share of expressing cells. ``"expression"``: the z-scored expression across cells itself; above 2,048
        cells, its 512 leading components.
    n_components
        Components of ``"pca"``; fewer where the data has fewer.
    seed
        Seed of the decomposition's starting vector.

    Returns
    -------
    ``float32[G, F]``. A gene of constant expression has zeros in place of a profile.

    Raises
    ------
    ArgumentError
        If ``expression`` is no matrix, or ``n_components`` is below 1.
    """
    if not isinstance(expression, np.ndarray) and not sparse.issparse(expression):
        msg = f"expression is a dense or sparse matrix, genes × cells, not a {type(expression).__name__}."
        raise ArgumentError(msg)
    if not isinstance(kind, str) or kind not in ("pca", "expression"):
        msg = f"kind is 'pca' or 'expression', not {kind!r}."
        raise ArgumentError(msg)
    if expression.ndim != 2 or n_components < 1:
        msg = f"expression has two axes and n_components is at least 1; got {expression.ndim} and {n_components}."
        raise ArgumentError(msg)
    if kind == "pca":
        profile, moments = gene_profile(expression, n_components=n_components, seed=seed)
        return np.hstack([profile, MomentScale.fit(moments).apply(moments)]).astype(np.float32)
    mean, std, _ = gene_moments(expression)
    scale = _inverse_spread(mean, std)
    if expression.shape[1] <= MAX_CELLS:
        dense = expression.toarray() if sparse.issparse(expression) else expression
        return ((dense - mean[:, None]) * scale[:, None]).astype(np.float32)
    return _components(expression, scale, MAX_COMPONENTS, seed)


def gene_profile(expression: Any, *, n_components: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the features of kind ``"pca"`` consist of: loadings ``float32 (G, K)``, and moments ``float64 (G, 3)``.

    Parameters as of :func:`gene_features`. The moments are mean, spread and share of expressing cells as they are.
    """
    mean, std, detected = gene_moments(expression)
    loadings = _components(expression, _inverse_spread(mean, std), n_components, seed)
    return loadings, np.column_stack([mean, std, detected])


def _inverse_spread(mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """``(G,)``, what expression is multiplied by to have unit variance; 0 for a gene of constant expression."""
    constant = std <= 1e-6 * np.maximum(np.abs(mean), 1e-3)  # rounding of float32 expression leaves no exact zero
    return np.divide(1.0, std, out=np.zeros_like(std), where=~constant)


def _components(expression: Any, scale: np.ndarray, n_components: int, seed: int) -> np.ndarray:
    """Loadings ``(G, n_components)`` of genes on the principal components of cells, of unit overall variance."""
    from sklearn.decomposition import PCA

    n_genes, n_cells = expression.shape
    n_components = min(n_components, n_genes - 1, n_cells - 1)
    if n_components < 1 or not scale.any():
        return np.zeros((n_genes, 1), dtype=np.float32)
    if sparse.issparse(expression) and n_genes <= GRAM_GENES and n_cells > 2 * n_genes:
        loadings = _gram_loadings(expression, scale, n_components)
    else:
        if sparse.issparse(expression):
            by_cell = expression.tocsc()
            values = by_cell.data * scale[by_cell.indices]
            scaled = sparse.csc_array((values, by_cell.indices, by_cell.indptr), shape=by_cell.shape).T  # cells × genes
        else:
            scaled = (np.asarray(expression, dtype=np.float64) * scale[:, None]).T
        pca = PCA(n_components, svd_solver="arpack", random_state=seed % 2**32).fit(scaled)
        loadings = pca.components_.T * pca.singular_values_
    signs = np.sign(loadings[np.abs(loadings).argmax(0), np.arange(loadings.shape[1])])
    spread = float(loadings.std())
    return (loadings * signs / (spread if spread > 0 else 1.0)).astype(np.float32)


def _gram_loadings(expression: Any, scale: np.ndarray, n_components: int) -> np.ndarray:
    """The same loadings from the genes' covariance ``(G, G)``, summed over blocks of cells."""
    n_genes, n_cells = expression.shape
    by_cell = expression.tocsc()
    gram, total = np.zeros((n_genes, n_genes), order="F"), np.zeros(n_genes)
    for start in range(0, n_cells, _BLOCK_CELLS):
        block = by_cell[:, start : start + _BLOCK_CELLS].toarray() * scale[:, None]  # (G, b)
        total += block.sum(axis=1)
        gram = dsyrk(1.0, block, beta=1.0, c=gram, overwrite_c=True)  # its upper triangle
    gram -= np.outer(total, total) / n_cells
    values, vectors = eigh(gram, lower=False, subset_by_index=(n_genes - n_components, n_genes - 1))
    loadings: np.ndarray = (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1]
    return loadings


def _cell_blocks(expression: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gene index and value ``float64`` of the stored entries of a sparse matrix genes × cells, block by block."""
    by_cell = expression.tocsc()
    for start in range(0, by_cell.nnz, _BLOCK_ENTRIES):
        block = slice(start, start + _BLOCK_ENTRIES)
        yield by_cell.indices[block], by_cell.data[block].astype(np.float64)
