"""Gene pairs as images: the joint histogram of their expression over cells (Yuan & Bar-Joseph 2019)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from scgrn_tl.core.errors import ArgumentError, ExpressionError

__all__ = ["ExpressionImages", "check_bins", "expression_bins"]

_MIN_BINS, _MAX_BINS = 22, 256

_N_DRAWN = 1024

_BLOCK_CELLS = 2**22
"""Cells of all pairs counted at a time: 32 MiB of bin numbers."""


@dataclass(frozen=True, eq=False)
class ExpressionImages:
    """Images of gene pairs, made when asked for.

    With u = log10(expression of gene a + 0.01) and v the same of gene b, and H the counts of the N cells in K × K bins
    of equal width between the smallest and the largest u and v,

    ``pixel[row, column] = (log10(H[column of u, row of v] / N + 1e-4) + 4) / 4``:

    rows are bins of gene b, columns bins of gene a, a bin without cells is 0, and all cells in one bin are about 1. The
    bins of a gene are its own, so each gene is binned once and an image is a count of pairs of bin numbers.

    Attributes
    ----------
    bins
        ``uint8 (G, N)``, the bin of every cell on every gene's own scale.
    pixels
        ``float32 (N + 1,)``, the pixel of every count.
    n_bins
        Bins a side, K.
    """

    bins: Tensor
    pixels: Tensor
    n_bins: int

    @classmethod
    def of(cls, expression: np.ndarray, *, n_bins: int = 32, device: torch.device | str = "cpu") -> ExpressionImages:
        """Images of ``expression (G, N)``, which is not negative."""
        share = np.arange(expression.shape[1] + 1) / expression.shape[1]
        pixels = ((np.log10(share + 1e-4) + 4) / 4).astype(np.float32)
        bins = expression_bins(expression, n_bins)
        return cls(torch.from_numpy(bins).to(device), torch.from_numpy(pixels).to(device), n_bins)

    def __call__(self, pairs: Tensor) -> Tensor:
        """Images ``float32 (B, 1, K, K)`` of gene pairs ``int64 (B, 2)``: gene a in columns, gene b in rows."""
        side, n_cells = self.n_bins, self.bins.shape[1]
        counts = [self._counts(block) for block in pairs.split(max(1, _BLOCK_CELLS // n_cells))]
        return self.pixels[torch.cat(counts)].view(-1, 1, side, side)

    def standardized(self, generator: torch.Generator) -> ExpressionImages:
        """The same images, pixels shifted and scaled to mean 0 and spread 1 over pairs of genes drawn at random."""
        genes = torch.randint(len(self.bins), (_N_DRAWN, 2), generator=generator)
        drawn = self(genes.to(self.bins.device))
        return replace(self, pixels=(self.pixels - drawn.mean()) / drawn.std().clamp(min=1e-3))

    def _counts(self, pairs: Tensor) -> Tensor:
        """Cells in every pair of bins: ``int64 (B · K²,)``."""
        area = self.n_bins**2
        place = self.bins[pairs[:, 1]].long()  # (B, N)
        place.mul_(self.n_bins).add_(self.bins[pairs[:, 0]])
        place.add_(torch.arange(len(pairs), device=pairs.device)[:, None] * area)
        return torch.bincount(place.view(-1), minlength=len(pairs) * area)


def check_bins(n_bins: int) -> None:
    """Raise :class:`ArgumentError` unless an image of ``n_bins`` a side outlasts the network and fits in bytes."""
    if int(n_bins) != n_bins or not _MIN_BINS <= n_bins <= _MAX_BINS:
        msg = f"n_bins is a whole number from {_MIN_BINS} to {_MAX_BINS}, not {n_bins!r}."
        raise ArgumentError(msg)


def expression_bins(expression: np.ndarray, n_bins: int) -> np.ndarray:
    """The bin of every cell, by the rules of :func:`numpy.histogram2d`.

    Parameters
    ----------
    expression
        ``(G, N)``, genes × cells, not negative.
    n_bins
        Bins of equal width between the gene's smallest and largest log10(expression + 0.01); a value on an edge counts
        to the bin above it, the largest to the last bin. A constant gene's bins reach 0.5 to both sides of its value.

    Returns
    -------
    ``uint8 (G, N)``.
    """
    check_bins(n_bins)
    lowest = expression.min()
    if not lowest >= 0:
        msg = (
            f"Images are drawn of log expression, which cannot be negative or NaN; the lowest value is {lowest}. "
            "Give counts or log counts in place of scaled values."
        )
        raise ExpressionError(msg)
    bins = np.empty(expression.shape, dtype=np.uint8)
    for gene, values in enumerate(expression):
        logs = np.log10(values.astype(np.float64) + 0.01)  # (N,)
        low, high = logs.min(), logs.max()
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, n_bins + 1)
        place = np.searchsorted(edges, logs, side="right") - 1
        place[logs == edges[-1]] -= 1
        bins[gene] = place
    return bins
