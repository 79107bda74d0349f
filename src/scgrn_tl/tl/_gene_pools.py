"""Pools of gene embeddings over all cells and over groups of them, each batch by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._cell_groups import by_batch

if TYPE_CHECKING:
    from scgrn_tl.models.pooling import GenePool
    from scgrn_tl.models.processes import Processes
    from scgrn_tl.models.scbert import Encoding

    from ._cell_groups import CellGroups

__all__ = ["GenePools"]


class GenePools:
    """What is pooled: all cells (``""``), their plain mean (``"mean"``), and each group, batch by batch.

    Parameters
    ----------
    groups
        Groups that are also pooled by themselves.
    pool
        ``"attention"`` or ``"mean"``; the latter needs no second pool for the plain mean.
    batches
        Batches that weigh the same in a result; each has a :class:`GenePool` of its own. Cells in none are left out.

    Attributes
    ----------
    pools
        ``"result"``, or ``"result/batch"`` → the sums over its cells. Neither name holds a ``/``.
    """

    def __init__(self, groups: CellGroups | None, pool: str, batches: CellGroups | None = None) -> None:
        everywhere = None if batches is None else np.ones(len(batches.codes), dtype=bool)
        members = {"": everywhere, "mean": everywhere, **({} if groups is None else groups.masks())}
        self._pool = pool
        self._parts: dict[str, list[str]] = {}
        self._members: dict[str, np.ndarray | None] = {}
        for name, member in members.items():
            if pool == "mean" and name == "mean":
                continue
            parts = {"": None} if member is None else by_batch(member, batches)
            members_of = {f"{name}/{batch}" if batch else name: part for batch, part in parts.items()}
            self._parts[name] = list(members_of)
            self._members |= members_of
        self.pools: dict[str, GenePool] = {}

    def __len__(self) -> int:
        return len(self._members)

    def start(self, n_genes: int, dim: int, device: str, earlier: dict[str, GenePool]) -> None:
        """Begin with empty pools, or with those of an ``earlier`` run that is continued."""
        from scgrn_tl.models.pooling import GenePool

        # MPS has no float64
        where = device if device.startswith("cuda") else "cpu"
        self.pools = {
            part: GenePool.from_state(earlier[part].state(), device=where)
            if part in earlier
            else GenePool(n_genes, dim, device=where)
            for part in self._members
        }

    def add(self, rows: np.ndarray, encoding: Encoding) -> None:
        """Add the cells ``rows`` to every pool that they belong to."""
        import torch

        for name, parts in self._parts.items():
            weighted = "mean" not in {name, self._pool}
            for part in parts:
                hidden, attention = encoding.hidden, encoding.attention
                member = self._members[part]
                if member is not None:
                    inside = np.flatnonzero(member[rows])
                    if not len(inside):
                        continue
                    chosen = torch.from_numpy(inside).to(hidden.device)
                    hidden, attention = hidden[chosen], attention[chosen]
                self.pools[part].update(hidden, attention if weighted else None)

    def results(self, processes: Processes) -> dict[str, np.ndarray]:
        """``float32 (T, D)`` of each result, over the cells of all ``processes``, summed in the order of ranks."""
        from scgrn_tl.models.pooling import mean_of_pools

        return {
            name: mean_of_pools(self._merged(part, processes) for part in parts).astype(np.float32)
            for name, parts in self._parts.items()
        }

    def _merged(self, part: str, processes: Processes) -> GenePool:
        from scgrn_tl.models.pooling import GenePool

        first, *others = map(GenePool.from_state, processes.each(self.pools[part].state()))
        for other in others:
            first.merge(other)
        return first
