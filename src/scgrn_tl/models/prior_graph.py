"""The prior network as the GNN walks it: which relation each message has, edge by edge or as masks over all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .pair_attention import INVERSE, SELF_LOOP, PairGraph

__all__ = ["N_NODE_TYPES", "N_RELATIONS", "RelationalGraph", "message_graph"]

_ACTIVATES, _REPRESSES, _REGULATES = 0, 1, 2
N_RELATIONS = 7
N_NODE_TYPES = 2
"""Target (0) and regulator (1)."""

_DENSE = 0.02
"""Share of all pairs of a regulator and a gene from which on attention over all of them is faster than over edges."""


def relation_of(sign: Tensor) -> Tensor:
    """Relation ``int64 (E,)`` of edges with ``sign`` in −1, 0, 1."""
    relation = torch.full_like(sign, _REGULATES, dtype=torch.int64)
    relation[sign > 0] = _ACTIVATES
    relation[sign < 0] = _REPRESSES
    return relation


@dataclass(frozen=True, eq=False)
class RelationalGraph:
    """Edges as the GNN walks them: each regulation, its inverse, and a self loop per gene.

    Attributes
    ----------
    edge_index
        ``int64[2, E']``, source and target gene of every message.
    relation
        ``int64[E']``: activates, represses, regulates (sign unknown), the three inverses, self loop.
    node_type
        ``int64[G]``: 1 for a regulator, 0 for any other gene.
    """

    edge_index: Tensor
    relation: Tensor
    node_type: Tensor

    def without(self, hidden: Tensor) -> RelationalGraph:
        """The graph less the regulations at the pairs ``hidden``, ``bool[R, G]``, a row for each gene of type 1."""
        n_edges = (len(self.relation) - len(self.node_type)) // 2  # both ways, and a self loop per gene
        row = self.node_type.cumsum(0) - 1
        source, target = self.edge_index[:, :n_edges]
        shown = ~hidden[row[source], target]
        kept = torch.cat([shown, shown, torch.ones_like(self.node_type, dtype=torch.bool)])
        return RelationalGraph(self.edge_index[:, kept], self.relation[kept], self.node_type)

    @classmethod
    def from_edges(cls, edge_index: Tensor, sign: Tensor, node_type: Tensor) -> RelationalGraph:
        """Build from directed edges ``int64[2, E]`` with ``sign`` in −1, 0, 1."""
        n_genes = len(node_type)
        forward = relation_of(sign)
        loops = torch.arange(n_genes, device=edge_index.device)
        return cls(
            edge_index=torch.cat([edge_index, edge_index.flip(0), torch.stack([loops, loops])], dim=1),
            relation=torch.cat([forward, forward + INVERSE, torch.full_like(loops, SELF_LOOP)]),
            node_type=node_type,
        )


def message_graph(
    edge_index: Tensor, sign: Tensor, *, regulators: Tensor, node_type: Tensor
) -> RelationalGraph | PairGraph:
    """The graph of directed edges in the form in which it is walked faster; the sums are the same.

    Parameters
    ----------
    edge_index, sign
        ``int64 (2, E)`` gene indices, and −1, 0 or 1 of each edge.
    regulators
        ``int64 (R,)``, ascending gene indices, among them the source of every edge.
    node_type
        ``int64 (G,)``: 1 for a regulator, 0 for any other gene.
    """
    if edge_index.shape[1] < _DENSE * len(regulators) * len(node_type):
        return RelationalGraph.from_edges(edge_index, sign, node_type)
    row = torch.searchsorted(regulators, edge_index[0].contiguous())
    return PairGraph.from_edges(
        edge_row=row, target=edge_index[1], relation=relation_of(sign), regulators=regulators, node_type=node_type
    )
