"""Similarity of genes by their expression, as a covariance for random effects over genes."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

__all__ = ["GeneKernel"]

RELATIVE_WIDTH = 0.5
"""Squared distance, over the median of all, at which similarity has fallen to 1/e."""
EXACT_GENES = 4096
"""Up to as many genes the kernel is held as it is; of more, its Nyström approximation."""
N_LANDMARKS = 1024
"""Genes that the approximation is exact at."""

_JITTER = 1e-5


class GeneKernel:
    r"""K(g, h) = exp(−‖x_g − x_h‖² / (0.5 m)), m the median squared distance between two genes.

    Parameters
    ----------
    features
        ``(G, F)``, what is known of each gene's expression: :func:`~scgrn_tl.models.gene_features`.

    Notes
    -----
    Of more than :data:`EXACT_GENES` genes, K ≈ K_gm K_mm⁻¹ K_mg with m evenly spaced ones (Williams & Seeger 2001).
    """

    def __init__(self, features: np.ndarray) -> None:
        self.features = np.ascontiguousarray(features, dtype=np.float32)
        some = self.features[_evenly_spaced(len(features), N_LANDMARKS)]
        squared = _squared_distances(some, some)[np.triu_indices(len(some), 1)]
        median = float(np.median(squared)) if len(squared) else 0.0
        self._width = RELATIVE_WIDTH * median if median > 0 else 1.0
        self._landmarks = self.features
        self._exact: np.ndarray | None = None
        if len(features) <= EXACT_GENES:
            self._exact = self._similarity(self.features, self.features)
        else:
            self._landmarks = some
            of_landmarks = self._similarity(some, some).astype(np.float64)
            lower = cholesky(of_landmarks + _JITTER * np.eye(len(some)), lower=True)
            across = self._similarity(some, self.features)  # (m, G)
            self._root = solve_triangular(lower, across, lower=True).astype(np.float32)  # (m, G), K ≈ rootᵀ root

    def times(self, values: np.ndarray) -> np.ndarray:
        """``values (n, G)`` times K, ``(n, G)``."""
        if self._exact is not None:
            product: np.ndarray = values @ self._exact
            return product
        return (values @ self._root.T) @ self._root

    def predict(self, features: np.ndarray, values: np.ndarray) -> np.ndarray:
        """What ``values (n, G)`` times K is at other genes of known ``features (H, F)``: ``(n, H)``."""
        across = self._similarity(self._landmarks, np.asarray(features, dtype=np.float32))  # (m, H)
        if self._exact is not None:
            product: np.ndarray = values @ across
            return product
        of_landmarks = self._similarity(self._landmarks, self._landmarks).astype(np.float64)
        factor = cho_factor(of_landmarks + _JITTER * np.eye(len(of_landmarks)), lower=True)
        at_landmarks = values @ self._similarity(self._landmarks, self.features).T  # (n, m)
        return (cho_solve(factor, at_landmarks.T).T @ across).astype(values.dtype)

    def _similarity(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        similar: np.ndarray = np.exp(-_squared_distances(one, other) / self._width, dtype=np.float32)
        return similar


def _evenly_spaced(n_genes: int, n_wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, n_genes - 1, min(n_genes, n_wanted)).round().astype(np.int64))


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``float32 (len(one), len(other))``; never below 0, and 0 of a gene to itself."""
    from scipy.spatial.distance import cdist

    return cdist(one, other, "sqeuclidean").astype(np.float32)
