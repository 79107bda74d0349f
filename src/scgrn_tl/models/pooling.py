"""Attentive pooling of gene embeddings over cells, as running sums (model.md §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["GenePool", "mean_of_pools"]


class GenePool:
    r"""Weighted mean of every gene's embedding over cells that come in batches.

    .. math:: Z_t = \frac{\sum_n a_{t,n} h_{t,n}}{\sum_n a_{t,n}}

    (Kommu et al. 2024, eq. 6, where :math:`a` are attention sums; with all weights 1 it is the plain mean). Both sums
    are held in float64, so that the result depends neither on how cells are batched nor on their order, and pools of
    disjoint cells merge exactly. For one embedding per group of cells, keep one pool per group.

    Parameters
    ----------
    n_genes
        T, the number of genes pooled.
    dim
        D, the width of an embedding.
    device
        Where the sums are held. Batches are moved there cell by cell.
    """

    def __init__(self, n_genes: int, dim: int, *, device: str | torch.device = "cpu") -> None:
        if n_genes < 1 or dim < 1:
            msg = f"A pool needs at least one gene and one dimension, not n_genes={n_genes}, dim={dim}."
            raise ArgumentError(msg)
        self.n_genes = n_genes
        self.dim = dim
        self.n_cells = 0
        self._weighted_sum = torch.zeros(n_genes, dim, dtype=torch.float64, device=device)  # (T, D)
        self._weight_sum = torch.zeros(n_genes, dtype=torch.float64, device=device)  # (T,)

    def __repr__(self) -> str:
        return f"GenePool({self.n_genes:,} genes × {self.dim}, {self.n_cells:,} cells so far)"

    @torch.inference_mode()
    def update(self, hidden: torch.Tensor, weights: torch.Tensor | None = None) -> None:
        """Add a batch of cells.

        Parameters
        ----------
        hidden
            ``(B, T, D)`` gene embeddings.
        weights
            ``(B, T)``, finite and not negative; ``None`` weighs every cell by 1.

        Raises
        ------
        ArgumentError
            If the shapes do not fit, or a weight is negative, NaN or infinite. Nothing is added then.
        """
        if hidden.ndim != 3 or hidden.shape[1:] != (self.n_genes, self.dim):
            msg = (
                f"hidden has shape {tuple(hidden.shape)}; this pool takes (cells, {self.n_genes}, {self.dim}). "
                "Make a pool of these genes and this width: `GenePool(n_genes, dim)`."
            )
            raise ArgumentError(msg)
        if weights is None:
            weights = torch.ones(hidden.shape[:2], dtype=torch.float64)
        if weights.shape != hidden.shape[:2]:
            msg = (
                f"weights has shape {tuple(weights.shape)}; expected {tuple(hidden.shape[:2])}, one for each embedding."
            )
            raise ArgumentError(msg)
        weights = weights.to(self._weight_sum)  # (B, T)
        if not bool((weights.isfinite() & (weights >= 0)).all()):
            msg = (
                "weights holds negative, NaN or infinite values; a weight is a finite number of at least 0. "
                "Set others to 0, which leaves such cells out."
            )
            raise ArgumentError(msg)
        for cell, weight in zip(hidden, weights, strict=True):  # one float64 copy of (T, D) at a time
            self._weighted_sum.addcmul_(cell.to(self._weighted_sum), weight[:, None])
        self._weight_sum += weights.sum(dim=0)
        self.n_cells += len(hidden)

    @torch.inference_mode()
    def merge(self, other: GenePool) -> GenePool:
        """Add the sums of a pool of other cells to this one, and return this one.

        Raises
        ------
        ArgumentError
            If the pools differ in genes or width.
        """
        if (other.n_genes, other.dim) != (self.n_genes, self.dim):
            msg = (
                f"Cannot merge {other!r} into {self!r}: both need the same number of genes and the same width. "
                "Merge pools of one encoder and one list of genes."
            )
            raise ArgumentError(msg)
        self._weighted_sum += other._weighted_sum.to(self._weighted_sum)
        self._weight_sum += other._weight_sum.to(self._weight_sum)
        self.n_cells += other.n_cells
        return self

    def result(self, dtype: np.dtype | type[np.floating] = np.float32) -> np.ndarray:
        """Pooled embeddings ``(T, D)``; NaN where a gene's weights sum to zero."""
        total = self._weight_sum[:, None]
        pooled = torch.where(total > 0, self._weighted_sum / total, torch.nan)
        return pooled.cpu().numpy().astype(dtype)

    def state(self) -> dict[str, np.ndarray]:
        """All that the pool holds, as arrays to write: ``weighted_sum (T, D)``, ``weight_sum (T,)``, ``n_cells ()``."""
        return {
            "weighted_sum": self._weighted_sum.cpu().numpy().copy(),
            "weight_sum": self._weight_sum.cpu().numpy().copy(),
            "n_cells": np.asarray(self.n_cells, dtype=np.int64),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray], *, device: str | torch.device = "cpu") -> GenePool:
        """The pool that :meth:`state` describes.

        Raises
        ------
        ArgumentError
            If an array is missing or has the wrong shape.
        """
        missing = {"weighted_sum", "weight_sum", "n_cells"} - set(state)
        if missing:
            msg = f"The state of a pool lacks {', '.join(sorted(missing))}; pass what GenePool.state() returned."
            raise ArgumentError(msg)
        weighted_sum = np.asarray(state["weighted_sum"], dtype=np.float64)
        weight_sum = np.asarray(state["weight_sum"], dtype=np.float64)
        if weighted_sum.ndim != 2 or weight_sum.shape != weighted_sum.shape[:1]:
            msg = (
                f"weighted_sum {weighted_sum.shape}, weight_sum {weight_sum.shape}: expected (genes, dim) and (genes,)."
            )
            raise ArgumentError(msg)
        pool = cls(*weighted_sum.shape, device=device)
        pool._weighted_sum.copy_(torch.from_numpy(weighted_sum))
        pool._weight_sum.copy_(torch.from_numpy(weight_sum))
        pool.n_cells = int(state["n_cells"])
        return pool


def mean_of_pools(pools: Iterable[GenePool]) -> np.ndarray:
    r"""Mean of the pools' embeddings, each pool weighing the same, however many cells are in it.

    .. math:: Z_t = \frac{1}{|B_t|} \sum_{b ∈ B_t} Z_t^{(b)}

    where :math:`B_t` are the pools in which gene t has any weight.

    Parameters
    ----------
    pools
        Pools of the same genes and width, such as one for each batch.

    Returns
    -------
    ``float64 (T, D)``; NaN where a gene has weight in no pool.
    """
    pooled = np.stack([pool.result(np.float64) for pool in pools])  # (P, T, D)
    known = ~np.isnan(pooled)
    count = known.sum(axis=0)
    total = np.where(known, pooled, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
