"""Cells that are pooled together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scgrn_tl.models.pooling import GenePool

    from ._cell_weighting import CellWeighting, Ranking
    from ._embedded_cells import EmbeddedCells

__all__ = ["Stratum", "pool_strata"]


@dataclass(frozen=True, eq=False)
class Stratum:
    """Cells that are pooled together: those of one group (``None``: all) in one batch."""

    group: str | None
    cells: np.ndarray
    pool: GenePool
    ranking: Ranking

    @classmethod
    def empty(cls, group: str | None, cells: np.ndarray, rule: CellWeighting, n_genes: int, dim: int) -> Stratum:
        """For the ``cells`` (``bool[N]``), none of which has been added yet."""
        from scgrn_tl.models.pooling import GenePool

        return cls(group, cells, GenePool(n_genes, dim), rule.ranking(n_genes))


def pool_strata(strata: Sequence[Stratum], rule: CellWeighting, source: EmbeddedCells) -> None:
    """Add every cell to the strata that it is in; cells in none are not read."""
    import torch

    cells = np.flatnonzero(np.logical_or.reduce([stratum.cells for stratum in strata]))
    if rule.ranks:
        for rows, values in source.attention(cells):
            for stratum in strata:
                if (inside := stratum.cells[rows]).any():
                    stratum.ranking.update(values[inside])
    for rows, states, values in source.hidden(cells):
        for stratum in strata:
            inside = np.flatnonzero(stratum.cells[rows])
            if len(inside):
                weights = rule.weights(values[inside], stratum.ranking)
                stratum.pool.update(states[torch.from_numpy(inside)], torch.from_numpy(weights))
