"""Gene embeddings of many bootstrap replicates of the cells, pooled while each cell is read once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ReplicatePool", "mean_of_replicates"]


class ReplicatePool:
    r"""Weighted means of every gene's embedding over K multisets of cells that come in batches.

    .. math:: Z^{(k)}_t = \frac{\sum_n m^{(k)}_n a_{t,n} h_{t,n}}{\sum_n m^{(k)}_n a_{t,n}}

    where :math:`m^{(k)}_n` says how often replicate k drew cell n: what a
    :class:`~scgrn_tl.models.pooling.GenePool` gives of cells that are repeated so often. A replicate is only other
    weights of the same hidden states, so that all of them are pooled in one pass of the encoder. Sums are float64.

    Parameters
    ----------
    n_replicates, n_genes, dim
        K, T and the width D of an embedding. Held are K × T × D sums.
    """

    def __init__(self, n_replicates: int, n_genes: int, dim: int) -> None:
        if min(n_replicates, n_genes, dim) < 1:
            msg = f"Replicates are pooled of at least one each: not {n_replicates} × {n_genes} genes × {dim}."
            raise ArgumentError(msg)
        self.shape = (n_replicates, n_genes, dim)
        self._weighted_sum = torch.zeros(n_replicates, n_genes * dim, dtype=torch.float64)  # (K, T·D)
        self._weight_sum = torch.zeros(n_replicates, n_genes, dtype=torch.float64)  # (K, T)

    @torch.inference_mode()
    def update(self, hidden: torch.Tensor, weights: torch.Tensor, counts: np.ndarray) -> None:
        """Add a batch of cells.

        Parameters
        ----------
        hidden
            ``(B, T, D)`` gene embeddings.
        weights
            ``(B, T)``, of a cell that is drawn once.
        counts
            ``(K, B)``, how often each replicate drew each cell.
        """
        n_replicates, n_genes, dim = self.shape
        expected = {"hidden": (len(hidden), n_genes, dim), "weights": (len(hidden), n_genes)}
        for name, values in (("hidden", hidden), ("weights", weights)):
            if tuple(values.shape) != expected[name]:
                msg = f"{name} has shape {tuple(values.shape)}; expected {expected[name]}."
                raise ArgumentError(msg)
        if np.shape(counts) != (n_replicates, len(hidden)):
            msg = f"counts has shape {np.shape(counts)}; expected {(n_replicates, len(hidden))}, replicates × cells."
            raise ArgumentError(msg)
        times = torch.from_numpy(np.ascontiguousarray(counts, dtype=np.float64))  # (K, B)
        weights = weights.to(times)  # (B, T)
        weighted = hidden.to(times) * weights[:, :, None]  # (B, T, D)
        self._weighted_sum.addmm_(times, weighted.reshape(len(hidden), -1))
        self._weight_sum.addmm_(times, weights)

    def result(self) -> np.ndarray:
        """Pooled embeddings ``float64 (K, T, D)``; NaN where a replicate drew no cell that gives a gene any weight."""
        sums, total = self._weighted_sum.view(self.shape), self._weight_sum[:, :, None]
        return torch.where(total > 0, sums / total, torch.nan).numpy()


def mean_of_replicates(pools: Sequence[ReplicatePool]) -> np.ndarray:
    """Mean of pools of the same replicates, such as one for each batch, ``float32 (K, T, D)``.

    As by :func:`~scgrn_tl.models.pooling.mean_of_pools` every pool weighs the same, and one in which a gene has no
    weight is left out for it.
    """
    total, known = np.zeros(pools[0].shape), np.zeros((*pools[0].shape[:2], 1))
    for pool in pools:
        pooled = pool.result()
        is_known = ~np.isnan(pooled[:, :, :1])
        known += is_known
        total += np.where(is_known, pooled, 0.0)
    with np.errstate(invalid="ignore"):
        return np.where(known > 0, total / known, np.nan).astype(np.float32)
