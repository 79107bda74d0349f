"""Similarity of genes by their expression, as a covariance for random effects over genes."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy.linalg import cholesky, solve_triangular

__all__ = ["GeneKernel"]

RELATIVE_WIDTH = 0.5
"""Squared distance, over the median of all, at which similarity has fallen to 1/e."""
EXACT_GENES = 4096
"""Up to as many genes the kernel is held as it is; of more, its Nyström approximation."""
N_LANDMARKS = 1024
"""Genes that the approximation is exact at."""

_JITTER = 1e-5
_BLOCK_GENES = 2048
"""Genes whose float64 similarity to others is held at a time."""


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
        self._is_exact = len(features) <= EXACT_GENES
        self._landmarks = self.features if self._is_exact else some  # (m, F)

    def times(self, values: np.ndarray) -> np.ndarray:
        """``values (n, G)`` times K, ``(n, G)``."""
        if self._is_exact:
            product: np.ndarray = values @ self._own
            return product
        return (values @ self._own.T) @ self._own

    def predict(self, features: np.ndarray, values: np.ndarray) -> np.ndarray:
        """What ``values (n, G)`` times K is at other genes of known ``features (H, F)``: ``(n, H)``."""
        across = self._to_landmarks(np.asarray(features, dtype=np.float32))  # (m, H)
        product: np.ndarray = (values if self._is_exact else values @ self._own.T) @ across
        return product

    @cached_property
    def _own(self) -> np.ndarray:
        """``(m, G)``: K where it is exact, else the M of its approximation MᵀM."""
        return self._to_landmarks(self.features)

    @cached_property
    def _lower(self) -> np.ndarray:
        """``(m, m)``, Cholesky's factor of K among the landmarks."""
        among: np.ndarray = self._similarity(self._landmarks)
        factor: np.ndarray = cholesky(among + _JITTER * np.eye(len(among)), lower=True)
        return factor

    def _to_landmarks(self, features: np.ndarray) -> np.ndarray:
        """``float32 (m, H)``: similarity of genes to the landmarks; of the approximation, less what these share."""
        found = np.empty((len(self._landmarks), len(features)), dtype=np.float32)
        for start in range(0, len(features), _BLOCK_GENES):
            block = slice(start, start + _BLOCK_GENES)
            across = self._similarity(features[block])
            found[:, block] = across if self._is_exact else solve_triangular(self._lower, across, lower=True)
        return found

    def _similarity(self, features: np.ndarray) -> np.ndarray:
        """``float64 (m, H)``, of the landmarks to genes."""
        similar = _squared_distances(self._landmarks, features)
        similar /= -self._width
        return np.exp(similar, out=similar)


def _evenly_spaced(n_genes: int, n_wanted: int) -> np.ndarray:
    return np.unique(np.linspace(0, n_genes - 1, min(n_genes, n_wanted)).round().astype(np.int64))


def _squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``float64 (len(one), len(other))``; never below 0, and 0 of a gene to itself."""
    from scipy.spatial.distance import cdist

    distances: np.ndarray = cdist(one, other, "sqeuclidean")
    return distances
