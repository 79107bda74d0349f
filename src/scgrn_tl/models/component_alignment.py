"""Principal components of one dataset turned to those of another, by the genes that both have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import orthogonal_procrustes

__all__ = ["AlignedComponents", "align_components"]

N_FOLDS = 5
"""Parts of the shared genes, each left out once to see how well the others place it."""


class AlignedComponents(NamedTuple):
    """Loadings on the components of another dataset."""

    loadings: np.ndarray
    """``float32 (G, K)``."""
    agreement: float
    """Correlation (about 0) of left-out genes' loadings with those in the other dataset: 1 if both are the same."""


def align_components(
    loadings: np.ndarray, reference: np.ndarray, *, rows: np.ndarray, reference_rows: np.ndarray
) -> AlignedComponents:
    r"""Rotate loadings so that those of shared genes are as close as can be to their loadings in another dataset.

    Principal components have no names: another dataset has them in another order, with other signs, and rotated among
    each other. Of a gene's loadings only what rotation leaves alone is its own, the products with those of other genes,
    which are their correlations. The rotation :math:`R = \arg\min \|A R - B\|_F` over orthogonal matrices is that of
    orthogonal Procrustes analysis (Schönemann 1966), A and B being the loadings of the shared genes.

    A rotation of K dimensions can be fitted to any few genes. Each component of the result is therefore multiplied by
    the slope of the regression, through the origin and between 0 and 1, of left-out genes' loadings on where the
    rotation of the others puts them: what says nothing of the other dataset's component is 0, the average of genes.

    Parameters
    ----------
    loadings
        ``(G, k)`` of one dataset; with fewer components than the other, the rest of them are 0.
    reference
        ``(G', K)`` of the other, K ≥ k.
    rows, reference_rows
        ``int64 (S,)``, the shared genes in either; at least as many as :data:`N_FOLDS`.
    """
    order = np.argsort(reference_rows)  # whatever order the genes come in
    rows, reference_rows = rows[order], reference_rows[order]
    padded = np.zeros((len(loadings), reference.shape[1]))
    padded[:, : loadings.shape[1]] = loadings
    found, wanted = padded[rows], reference[reference_rows].astype(np.float64)
    rotation, _ = orthogonal_procrustes(found, wanted)
    if _correlation(found @ rotation, wanted) > 1 - 1e-9:  # the same up to rotation: nothing is left to chance
        return AlignedComponents((padded @ rotation).astype(np.float32), 1.0)
    placed = np.empty_like(wanted)
    fold = np.arange(len(rows)) % N_FOLDS
    for number in range(N_FOLDS):
        others = fold != number
        placed[~others] = found[~others] @ orthogonal_procrustes(found[others], wanted[others])[0]
    square = (placed**2).sum(0)
    slope = np.divide((placed * wanted).sum(0), square, out=np.zeros_like(square), where=square > 0)
    aligned = padded @ rotation * slope.clip(0, 1)
    return AlignedComponents(aligned.astype(np.float32), _correlation(placed, wanted))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two matrices of the same shape, about 0; 0 where one of them is."""
    norm = np.linalg.norm(one) * np.linalg.norm(other)
    return float(np.sum(one * other) / norm) if norm > 0 else 0.0
