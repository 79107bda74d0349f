"""Principal components of one dataset turned to those of another, by the genes that both have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import orthogonal_procrustes

__all__ = ["AlignedComponents", "align_components"]


class AlignedComponents(NamedTuple):
    """Loadings on the components of another dataset."""

    loadings: np.ndarray
    """``float32 (G, K)``."""
    agreement: float
    """Correlation (about 0) with the other dataset's loadings over the shared genes: 1 if both are the same."""


def align_components(
    loadings: np.ndarray, reference: np.ndarray, *, rows: np.ndarray, reference_rows: np.ndarray
) -> AlignedComponents:
    r"""Rotate loadings so that those of shared genes are as close as can be to their loadings in another dataset.

    Principal components have no names: another dataset has them in another order, with other signs, and rotated among
    each other. Of a gene's loadings only what rotation leaves alone is its own, the products with those of other genes,
    which are their correlations. The rotation :math:`R = \arg\min \|A R - B\|_F` over orthogonal matrices is that of
    orthogonal Procrustes analysis (Schönemann 1966), A and B being the loadings of the shared genes.

    Parameters
    ----------
    loadings
        ``(G, k)`` of one dataset; with fewer components than the other, the rest of them are 0.
    reference
        ``(G', K)`` of the other, K ≥ k.
    rows, reference_rows
        ``int64 (S,)``, the shared genes in either.
    """
    padded = np.zeros((len(loadings), reference.shape[1]))
    padded[:, : loadings.shape[1]] = loadings
    target = reference[reference_rows].astype(np.float64)
    rotation, _ = orthogonal_procrustes(padded[rows], target)
    aligned = padded @ rotation
    norm = np.linalg.norm(aligned[rows]) * np.linalg.norm(target)
    agreement = float(np.sum(aligned[rows] * target) / norm) if norm > 0 else 0.0
    return AlignedComponents(aligned.astype(np.float32), agreement)
