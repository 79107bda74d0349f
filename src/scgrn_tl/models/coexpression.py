r"""Gene vectors from co-expression, for encoders of genes that no published vectors know.

scBERT (Yang et al. 2022) adds to every token a gene2vec vector, learned so that genes expressed together lie close.
Here the same is had in closed form from the data itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["coexpression_vectors", "standardized_expression"]


def standardized_expression(expression: Any) -> tuple[sparse.csr_matrix, NDArray[np.bool_]]:
    """Genes that vary, divided by their standard deviation: sparse, since their means are left in.

    Parameters
    ----------
    expression
        ``(N, G)``, dense or sparse.

    Returns
    -------
    standardized
        CSR ``float64 (N, V)``, the V genes that vary.
    varies
        ``bool (G,)``, which those are.
    """
    matrix = sparse.csr_matrix(expression, dtype=np.float64)
    n_cells = matrix.shape[0]
    mean = np.asarray(matrix.mean(axis=0)).ravel()
    variance = np.asarray(matrix.multiply(matrix).mean(axis=0)).ravel() - mean**2
    # what rounding leaves of a constant gene's variance is not variation
    varies = variance > 1e-10 * np.maximum(mean**2, 1e-10)
    scale = np.sqrt((n_cells - 1) / (variance[varies] * n_cells))
    return matrix[:, varies] @ sparse.diags(scale).tocsr(), varies


def coexpression_vectors(expression: Any, dim: int, *, seed: int = 0) -> NDArray[np.float32]:
    r"""Gene vectors whose inner products are, as nearly as ``dim`` allows, the genes' correlations.

    With :math:`Z` the expression standardised per gene, :math:`C = Z^\top Z / (N - 1)` is the correlation matrix, and
    the truncated singular value decomposition :math:`Z ≈ U S V^\top` gives :math:`X = V S / \sqrt{N - 1}` with
    :math:`X X^\top` the best approximation of :math:`C` of rank ``dim`` (Eckart–Young). :math:`C` is never formed, and
    sparse expression stays sparse.

    Parameters
    ----------
    expression
        ``(N, G)`` log-normalised expression, dense or sparse.
    dim
        Width of the vectors. Where the data have a lower rank, the last columns are zero.
    seed
        Seed of the iteration's first vector; signs are fixed, so the result is reproducible.

    Returns
    -------
    ``float32 (G, dim)``. A gene that does not vary has the zero vector.

    Raises
    ------
    ArgumentError
        If ``dim`` is below 1.
    """
    if dim < 1:
        msg = f"dim is at least 1, not {dim}."
        raise ArgumentError(msg)
    from sklearn.decomposition import PCA

    n_cells, n_genes = expression.shape
    vectors = np.zeros((n_genes, dim), dtype=np.float32)
    standardized, varies = standardized_expression(expression)
    n_components = min(dim, n_cells - 1, int(varies.sum()) - 1)
    if n_components < 1:
        return vectors
    # PCA centres sparse columns implicitly, and fixes signs by each component's largest loading
    pca = PCA(n_components, svd_solver="arpack", random_state=seed % 2**32).fit(standardized)
    vectors[varies, :n_components] = (pca.components_ * pca.singular_values_[:, None]).T / np.sqrt(n_cells - 1)
    return vectors
