"""Graph attention over the prior network (scTransNet eqs. 7–13, Kommu et al. 2024; after Yasunaga et al. 2021)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax

from scgrn_tl.core.errors import ArgumentError

from .pair_attention import NodeStates, PairGraph, attend_pairs
from .prior_graph import N_NODE_TYPES, N_RELATIONS, RelationalGraph
from .seeding import Dropout

__all__ = ["PriorGNN", "PriorGNNLayer"]

_EDGES_AT_ONCE = 2**17
"""Messages whose vectors are held at a time; of more, they are computed anew in the backward pass."""


class PriorGNNLayer(MessagePassing):
    """One layer: messages and attention that know the relation and the types of both genes.

    With node states v, node types u and relations r̃::

        r_st = f_r(r̃, u_s, u_t)                                   (7)  two-layer MLP
        m_st = f_m(v_s, u_s, r_st)                                 (8)  linear
        q_s  = f_q(v_s, u_s),  k_t = f_k(v_t, u_t, r_st)           (9, 10)  linear
        γ_st = q_sᵀ k_t / √D,  α_st = softmax over the edges into t (11, 12)
        ṽ_t  = f_n(Σ_s α_st m_st) + v_t                            (13) two-layer MLP; linear residual if widths differ

    A linear map of a concatenation is the sum of a linear map of each part, so f_m, f_q and f_k are computed once per
    gene and once per distinct (relation, type, type) and only added per edge.

    Parameters
    ----------
    in_width, out_width
        Width of v before and after.
    heads
        Attention heads that ``out_width`` is divided between.
    """

    def __init__(self, in_width: int, out_width: int, *, heads: int = 4) -> None:
        super().__init__(aggr="add", node_dim=0)
        if out_width % heads:
            msg = (
                f"A width of {out_width} cannot be divided between {heads} heads. "
                "Choose a multiple (`gnn_widths=`, `gnn_heads=`)."
            )
            raise ArgumentError(msg)
        self.heads, self.head_width = heads, out_width // heads
        self.relation_mlp = nn.Sequential(
            nn.Linear(N_RELATIONS + 2 * N_NODE_TYPES, out_width), nn.ReLU(), nn.Linear(out_width, out_width)
        )
        self.message_state = nn.Linear(in_width, out_width)
        self.message_type = nn.Embedding(N_NODE_TYPES, out_width)
        self.message_relation = nn.Linear(out_width, out_width, bias=False)
        self.query_state = nn.Linear(in_width, out_width)
        self.query_type = nn.Embedding(N_NODE_TYPES, out_width)
        self.key_state = nn.Linear(in_width, out_width)
        self.key_type = nn.Embedding(N_NODE_TYPES, out_width)
        self.key_relation = nn.Linear(out_width, out_width, bias=False)
        self.node_mlp = nn.Sequential(nn.Linear(out_width, out_width), nn.ReLU(), nn.Linear(out_width, out_width))
        self.residual = nn.Identity() if in_width == out_width else nn.Linear(in_width, out_width, bias=False)

    def relation_table(self) -> Tensor:
        """r_st of every (relation, type of s, type of t): ``(7·2·2, D)``."""
        device = self.message_type.weight.device
        relation, source, target = torch.meshgrid(
            torch.arange(N_RELATIONS, device=device),
            torch.arange(N_NODE_TYPES, device=device),
            torch.arange(N_NODE_TYPES, device=device),
            indexing="ij",
        )
        one_hot = [
            nn.functional.one_hot(relation.reshape(-1), N_RELATIONS),
            nn.functional.one_hot(source.reshape(-1), N_NODE_TYPES),
            nn.functional.one_hot(target.reshape(-1), N_NODE_TYPES),
        ]
        table: Tensor = self.relation_mlp(torch.cat(one_hot, dim=1).to(self.message_type.weight.dtype))
        return table

    def forward(self, v: Tensor, graph: RelationalGraph | PairGraph) -> Tensor:
        """New node states ``(G, out_width)`` of ``v (G, in_width)``."""
        u, table = graph.node_type, self.relation_table()
        message = self.message_state(v) + self.message_type(u)  # (G, D)
        query = self.query_state(v) + self.query_type(u)  # (G, D)
        key = self.key_state(v) + self.key_type(u)  # (G, D)
        message_table, key_table = self.message_relation(table), self.key_relation(table)  # (28, D)
        if isinstance(graph, PairGraph):
            by_head = (self._by_head(part) for part in (message, query, key))
            tables = (
                self._by_head(part).view(self.heads, N_RELATIONS, N_NODE_TYPES, N_NODE_TYPES, self.head_width)
                for part in (message_table, key_table)
            )
            aggregated = attend_pairs(NodeStates(*by_head, *tables), graph).transpose(0, 1).reshape(len(v), -1)
        else:
            aggregated = self._attend_edges(message, query, key, message_table, key_table, graph)
        updated: Tensor = self.node_mlp(aggregated) + self.residual(v)
        return updated

    def _by_head(self, values: Tensor) -> Tensor:
        """``(n, D)`` as ``(H, n, d)``."""
        return values.view(len(values), self.heads, self.head_width).transpose(0, 1)

    def _attend_edges(
        self,
        message: Tensor,
        query: Tensor,
        key: Tensor,
        message_table: Tensor,
        key_table: Tensor,
        graph: RelationalGraph,
    ) -> Tensor:
        """Attention-weighted sum of the messages into every gene, ``(G, D)``, edge by edge."""
        combination = _combination(graph)
        n_genes, n_edges = len(key), len(combination)
        if n_edges <= _EDGES_AT_ONCE:
            parts = (message, query, key, message_table, key_table)
            return self._attend(graph.edge_index, combination, *parts)
        # All messages into a gene have to meet, so blocks are of genes, with about as many edges each.
        target = graph.edge_index[1]
        order = target.argsort(stable=True)
        ends = torch.bincount(target, minlength=n_genes).cumsum(0)  # (G,)
        levels = torch.arange(_EDGES_AT_ONCE, n_edges + _EDGES_AT_ONCE, _EDGES_AT_ONCE, device=ends.device)
        stops = (torch.searchsorted(ends, levels, right=True)).clamp(min=1).unique().tolist()
        blocks, start, first = [], 0, 0
        for stop in [stop for stop in stops if stop < n_genes] + [n_genes]:
            last = int(ends[stop - 1])
            chosen = order[first:last]
            edges = graph.edge_index[:, chosen] - torch.tensor([[0], [start]], device=ends.device)
            blocks.append(
                checkpoint(
                    self._attend,
                    edges,
                    combination[chosen],
                    message,
                    query,
                    key[start:stop],
                    message_table,
                    key_table,
                    use_reentrant=False,
                )
            )
            start, first = stop, last
        return torch.cat(blocks)

    def _attend(
        self,
        edge_index: Tensor,
        combination: Tensor,
        message: Tensor,
        query: Tensor,
        key: Tensor,
        message_table: Tensor,
        key_table: Tensor,
    ) -> Tensor:
        """One block's sum, ``(len(key), D)``: targets are counted within ``key``."""
        aggregated: Tensor = self.propagate(
            edge_index,
            m=(message, None),
            q=(query, None),
            k=(None, key),
            message_table=message_table,
            key_table=key_table,
            combination=combination,
            size=(len(message), len(key)),
        )
        return aggregated

    def message(  # noqa: D102  (PyG's hook)
        self,
        m_j: Tensor,
        q_j: Tensor,
        k_i: Tensor,
        message_table: Tensor,
        key_table: Tensor,
        combination: Tensor,
        index: Tensor,
        size_i: int | None,
    ) -> Tensor:
        n_edges = len(index)
        gamma = self._gamma(q_j, k_i, key_table.index_select(0, combination))  # (E', H)
        alpha = softmax(gamma, index, num_nodes=size_i)  # (E', H)
        message = (m_j + message_table.index_select(0, combination)).view(n_edges, self.heads, self.head_width)
        weighted: Tensor = (alpha.unsqueeze(-1) * message).view(n_edges, -1)
        return weighted

    def _gamma(self, query: Tensor, key: Tensor, key_relation: Tensor) -> Tensor:
        """γ (eq. 11) of some edges ``(E', H)``: the sender's query, and both parts of the reader's key, ``(E', D)``."""
        shape = len(query), self.heads, self.head_width
        gamma: Tensor = (query.view(shape) * (key + key_relation).view(shape)).sum(-1) / math.sqrt(self.head_width)
        return gamma

    @torch.no_grad()
    def attention(self, v: Tensor, graph: RelationalGraph) -> Tensor:
        """α (eq. 12) of every message, ``(E', H)``: over the messages into one gene it sums to 1 in every head."""
        u, target = graph.node_type, graph.edge_index[1]
        query = self.query_state(v) + self.query_type(u)  # (G, D)
        key = self.key_state(v) + self.key_type(u)  # (G, D)
        key_table, combination = self.key_relation(self.relation_table()), _combination(graph)
        gamma = [
            self._gamma(query[source], key[reader], key_table[which])
            for source, reader, which in zip(
                *(part.split(_EDGES_AT_ONCE) for part in (graph.edge_index[0], target, combination)), strict=True
            )
        ]
        alpha: Tensor = softmax(torch.cat(gamma), target, num_nodes=len(v))
        return alpha


def _combination(graph: RelationalGraph) -> Tensor:
    """Row of every message in :meth:`PriorGNNLayer.relation_table`, ``(E',)``."""
    source_type, target_type = graph.node_type[graph.edge_index]
    return (graph.relation * N_NODE_TYPES + source_type) * N_NODE_TYPES + target_type


class PriorGNN(nn.Module):
    """A linear input map and M graph layers (eqs. 7–13).

    Parameters
    ----------
    n_features
        Width of the node features v⁰.
    widths
        Width after each layer; the input map goes to the first.
    heads
        Attention heads of each layer.
    dropout
        Share of node-state entries dropped before each layer in training.
    """

    def __init__(
        self, n_features: int, *, widths: tuple[int, ...] = (256, 128), heads: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.input = nn.Linear(n_features, widths[0])
        self.layers = nn.ModuleList(
            PriorGNNLayer(before, after, heads=heads)
            for before, after in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.dropout = Dropout(dropout)

    @torch.no_grad()
    def attention(
        self, features: Tensor, messages: RelationalGraph, *, graph: RelationalGraph | PairGraph | None = None
    ) -> Tensor:
        """α (eq. 12) of every message ``(E',)``, the mean over layers and heads, without dropout.

        Parameters
        ----------
        features
            As :meth:`forward` takes them.
        messages
            The graph, edge by edge.
        graph
            The same graph in the form in which it is walked fastest; ``messages`` if ``None``.
        """
        v = self.input(features)
        total = torch.zeros(len(messages.relation), dtype=v.dtype, device=v.device)
        for layer in self.layers:
            total += cast("PriorGNNLayer", layer).attention(v, messages).mean(1)
            v = layer(v, messages if graph is None else graph)
        return total / len(self.layers)

    def forward(self, features: Tensor, graph: RelationalGraph | PairGraph) -> Tensor:
        """Node states ``(G, widths[-1])`` of node features ``(G, n_features)``."""
        v = self.input(features)
        for layer in self.layers:
            v = layer(self.dropout(v), graph)
        return v
