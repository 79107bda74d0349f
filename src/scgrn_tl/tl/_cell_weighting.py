"""How much each cell counts in a gene's pooled embedding, given its attention to the gene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scgrn_tl.core import ArgumentError

__all__ = ["CellWeighting", "Ranking"]

WEIGHTINGS = ("attention", "mean", "softmax", "top_k")


@dataclass(frozen=True)
class CellWeighting:
    r"""A rule that turns attention :math:`a_{t,n}` into unnormalised weights of cells n for gene t.

    ``attention``: :math:`a_{t,n}` (Kommu et al. 2024, eq. 6). ``mean``: 1. ``softmax``: :math:`\exp(a_{t,n} / τ)`.
    ``top_k``: :math:`a_{t,n}` in the k cells where it is largest, 0 elsewhere; cells that tie with the k-th count too,
    so that the order of cells does not matter.
    """

    kind: Literal["attention", "mean", "softmax", "top_k"]
    temperature: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in WEIGHTINGS:
            msg = f"weighting is one of {', '.join(map(repr, WEIGHTINGS))}, not {self.kind!r}."
            raise ArgumentError(msg)
        if not (np.isreal(self.temperature) and 0 < self.temperature < np.inf):
            msg = f"temperature is positive and finite, not {self.temperature!r}."
            raise ArgumentError(msg)
        if (self.kind == "top_k") != (self.top_k is not None):
            msg = (
                f"top_k goes with weighting='top_k', and only with it: got weighting={self.kind!r}, top_k={self.top_k}."
            )
            raise ArgumentError(msg)
        if self.top_k is not None and (not isinstance(self.top_k, (int, np.integer)) or self.top_k < 1):
            msg = f"top_k is a whole number of at least 1, not {self.top_k!r}."
            raise ArgumentError(msg)

    @property
    def ranks(self) -> bool:
        """Whether a cell's weight depends on the attention of all cells, so that these have to be seen first."""
        return self.kind in {"softmax", "top_k"}

    def ranking(self, n_genes: int) -> Ranking:
        """An empty :class:`Ranking` for ``n_genes`` genes."""
        return Ranking(1 if self.top_k is None else int(self.top_k), n_genes)

    def weights(self, attention: np.ndarray, ranking: Ranking) -> np.ndarray:
        """``float64 (B, T)`` of attention ``(B, T)``; ``ranking`` has seen all cells that are pooled together."""
        attention = np.asarray(attention, dtype=np.float64)
        if self.kind == "mean":
            return np.ones_like(attention)
        if self.kind == "softmax":  # the largest weight is 1: no overflow, and never all zero
            return np.exp((attention - ranking.threshold) / self.temperature)
        if self.kind == "top_k":
            return np.where(attention >= ranking.threshold, attention, 0.0)
        return attention


class Ranking:
    """The k largest attention values of each gene among cells that come in batches; holds k × T values.

    Parameters
    ----------
    k
        How many; the maximum alone for ``k=1``.
    n_genes
        T.
    """

    def __init__(self, k: int, n_genes: int) -> None:
        self.k = k
        self._largest = np.empty((0, n_genes))

    def update(self, attention: np.ndarray) -> None:
        """Take in a batch ``(B, T)``."""
        values = np.concatenate([self._largest, np.asarray(attention, dtype=np.float64)])
        if len(values) > self.k:
            values = np.partition(values, len(values) - self.k, axis=0)[-self.k :]
        self._largest = values

    @property
    def threshold(self) -> np.ndarray:
        """``float64[T]``, the k-th largest value, or the smallest where there are fewer than k cells."""
        return self._largest.min(axis=0)
