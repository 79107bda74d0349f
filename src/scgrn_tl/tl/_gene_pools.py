"""Pools of gene embeddings over all cells and over groups of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scgrn_tl.models.pooling import GenePool
    from scgrn_tl.models.processes import Processes
    from scgrn_tl.models.scbert import Encoding

    from ._cell_groups import CellGroups

__all__ = ["GenePools"]


class GenePools:
    """One :class:`GenePool` for all cells (``""``), for their plain mean (``"mean"``), and for each group.

    Parameters
    ----------
    groups
        Groups that are also pooled by themselves.
    pool
        ``"attention"`` or ``"mean"``; the latter needs no second pool for the plain mean.
    """

    def __init__(self, groups: CellGroups | None, pool: str) -> None:
        members = {"": None, "mean": None, **({} if groups is None else groups.masks())}
        self._members: dict[str, np.ndarray | None] = {
            name: mask for name, mask in members.items() if not (pool == "mean" and name == "mean")
        }
        self._pool = pool
        self.pools: dict[str, GenePool] = {}

    def __len__(self) -> int:
        return len(self._members)

    def start(self, n_genes: int, dim: int, device: str, earlier: dict[str, GenePool]) -> None:
        """Begin with empty pools, or with those of an ``earlier`` run that is continued."""
        from scgrn_tl.models.pooling import GenePool

        # MPS has no float64
        where = device if device.startswith("cuda") else "cpu"
        self.pools = {
            name: GenePool.from_state(earlier[name].state(), device=where)
            if name in earlier
            else GenePool(n_genes, dim, device=where)
            for name in self._members
        }

    def add(self, rows: np.ndarray, encoding: Encoding) -> None:
        """Add the cells ``rows`` to every pool that they belong to."""
        import torch

        for name, gene_pool in self.pools.items():
            hidden, attention = encoding.hidden, encoding.attention
            member = self._members[name]
            if member is not None:
                inside = np.flatnonzero(member[rows])
                if not len(inside):
                    continue
                chosen = torch.from_numpy(inside).to(hidden.device)
                hidden, attention = hidden[chosen], attention[chosen]
            gene_pool.update(hidden, None if "mean" in {name, self._pool} else attention)

    def results(self, processes: Processes) -> dict[str, np.ndarray]:
        """``float32 (T, D)`` of each pool, over the cells of all ``processes``, summed in the order of their ranks."""
        from scgrn_tl.models.pooling import GenePool

        results = {}
        for name, gene_pool in self.pools.items():
            first, *others = map(GenePool.from_state, processes.each(gene_pool.state()))
            for other in others:
                first.merge(other)
            results[name] = first.result()
        return results
