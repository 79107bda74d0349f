"""Which cells carry a gene's embedding: the weights of attentive pooling, summed over groups of cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, iter_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["WeightShares", "weight_shares"]

_BLOCK_VALUES = 2**24
"""Attention values that are held at a time."""


@dataclass(frozen=True, eq=False)
class WeightShares:
    """Sums over the cells that were pooled, of T′ genes and K groups.

    Attributes
    ----------
    genes
        The T′ gene names.
    group_sizes
        ``int64 (K,)``, cells of each group.
    total, squares
        ``float64 (K, T′)``: attention of each group's cells, and its square, summed.
    top_cells, top_attention
        ``int64`` and ``float64 (n, T′)``: the rows of the cells with most attention, falling, and their attention.
    """

    genes: tuple[str, ...]
    group_sizes: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    top_cells: np.ndarray
    top_attention: np.ndarray

    @property
    def effective_cells(self) -> np.ndarray:
        """``float64 (T′,)``, 1 / Σ w² with weights w that sum to 1 (Kish 1965): n for n cells that weigh the same."""
        weight, squares = self.total.sum(0), self.squares.sum(0)
        return np.divide(weight**2, squares, out=np.zeros_like(weight), where=squares > 0)

    def by_group(self, names: Sequence[str]) -> pd.DataFrame:
        """A row per gene and group with cells: the group's share of the weight, beside its share of the cells."""
        weight = self.total / self.total.sum(0)  # (K, T')
        cells = self.group_sizes / self.group_sizes.sum()
        inside = np.divide(self.total**2, self.squares, out=np.zeros_like(self.total), where=self.squares > 0)
        n_genes = len(self.genes)
        table = pd.DataFrame(
            {
                "gene": np.repeat(np.array(self.genes, dtype=object), len(names)),
                "group": np.tile(np.array(names, dtype=object), n_genes),
                "n_cells": np.tile(self.group_sizes, n_genes),
                "cell_share": np.tile(cells, n_genes),
                "weight_share": weight.T.ravel(),
                "effective_cells": inside.T.ravel(),
            }
        )
        table = table[table["n_cells"] > 0].reset_index(drop=True)
        table.insert(5, "enrichment", table["weight_share"] / table["cell_share"])
        return table

    def strongest(self, cell_names: Sequence[str], groups: np.ndarray) -> pd.DataFrame:
        """A row per gene and rank: the cells with the largest weights; ``groups`` is the name of each cell's."""
        n, n_genes = self.top_cells.shape
        rows = self.top_cells.T.ravel()
        return pd.DataFrame(
            {
                "gene": np.repeat(np.array(self.genes, dtype=object), n),
                "rank": np.tile(np.arange(1, n + 1), n_genes),
                "cell": np.asarray(cell_names, dtype=object)[rows],
                "group": groups[rows],
                "weight": (self.top_attention / self.total.sum(0)).T.ravel(),
            }
        )


def weight_shares(
    attention: Any,
    genes: Sequence[str],
    columns: np.ndarray,
    *,
    pooled: np.ndarray,
    codes: np.ndarray,
    n_groups: int,
    n_top: int,
) -> WeightShares:
    """Sum attention over groups of cells in one pass, block by block.

    Parameters
    ----------
    attention
        Cells × embedded genes: an array, or a dask array, of which no more than a block is read at a time.
    genes, columns
        Names and columns of the T′ genes.
    pooled
        ``bool[N]``, the cells that count.
    codes, n_groups
        ``int64[N]``, group of each cell, from 0, and how many there are.
    n_top
        How many of the strongest cells to keep for each gene.

    Raises
    ------
    ArgumentError
        If a value is negative or not finite, or a gene has no attention in any cell.
    """
    n_genes = len(columns)
    total, squares = np.zeros((n_groups, n_genes)), np.zeros((n_groups, n_genes))
    top_cells, top = np.empty((0, n_genes), dtype=np.int64), np.empty((0, n_genes))
    batch = max(1, _BLOCK_VALUES // max(1, attention.shape[1]))
    for rows, block in iter_cells(attention, columns=columns, batch_size=batch, dtype=np.float64):
        places = np.arange(rows.start, rows.stop)[pooled[rows]]
        values = block[pooled[rows]]
        if not (np.isfinite(values).all() and (values >= 0).all()):
            msg = "The stored attention has values that are negative or not finite. Run `sg.tl.scbert_embed` again."
            raise ArgumentError(msg)
        np.add.at(total, codes[places], values)
        np.add.at(squares, codes[places], values**2)
        top_cells = np.vstack([top_cells, np.repeat(places[:, None], n_genes, axis=1)])
        top = np.vstack([top, values])
        order = np.argsort(-top, axis=0, kind="stable")[:n_top]
        top_cells, top = np.take_along_axis(top_cells, order, 0), np.take_along_axis(top, order, 0)
    if (empty := total.sum(0) == 0).any():
        named = ", ".join(repr(gene) for gene, is_empty in zip(genes, empty, strict=True) if is_empty)
        msg = f"No cell that is left has any attention for {named}. Run `sg.tl.scbert_embed` again."
        raise ArgumentError(msg)
    sizes = np.bincount(codes[pooled], minlength=n_groups)
    return WeightShares(tuple(genes), sizes, total, squares, top_cells, top)
