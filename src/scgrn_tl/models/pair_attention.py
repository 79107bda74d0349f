"""Attention over a dense prior: every pair of a regulator and a gene computed, the pairs without an edge masked out.

Where a few percent of all pairs are edges, products of small matrices over all pairs are several times faster than
fetching two vectors for each edge, and give the same sums.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["INVERSE", "SELF_LOOP", "NodeStates", "PairGraph", "attend_pairs"]

INVERSE = 3
"""Added to a relation (activates, represses, regulates: 0, 1, 2), its inverse: target → regulator."""
SELF_LOOP = 6

_BLOCK_VALUES = 2**24
"""Attention values of a relation that are held at a time."""


@dataclass(frozen=True, eq=False)
class PairGraph:
    """The edges of a :class:`~scgrn_tl.models.prior_gnn.RelationalGraph` as masks over regulators × genes.

    Attributes
    ----------
    relations
        Of each relation that occurs, its number and ``bool (R, G)``, where it holds.
    regulators
        ``int64 (R,)``, gene index of each row.
    node_type
        ``int64 (G,)``: 1 for a regulator, which all rows are, 0 for any other gene.
    """

    relations: tuple[tuple[int, Tensor], ...]
    regulators: Tensor
    node_type: Tensor

    @classmethod
    def from_edges(
        cls, *, edge_row: Tensor, target: Tensor, relation: Tensor, regulators: Tensor, node_type: Tensor
    ) -> PairGraph:
        """Build from edges ``int64 (E,)`` each: row of the regulator, target gene, relation below 3."""
        masks = []
        for number in range(INVERSE):
            chosen = relation == number
            if chosen.any():
                mask = torch.zeros(len(regulators), len(node_type), dtype=torch.bool, device=target.device)
                mask[edge_row[chosen], target[chosen]] = True
                masks.append((number, mask))
        return cls(tuple(masks), regulators, node_type)

    def without(self, hidden: Tensor) -> PairGraph:
        """The graph less the edges at the pairs ``hidden``, ``bool (R, G)``."""
        shown = ~hidden
        return PairGraph(
            tuple((number, mask & shown) for number, mask in self.relations), self.regulators, self.node_type
        )


class NodeStates(NamedTuple):
    """What a layer attends with: per gene ``(H, G, d)``, and per relation and two types ``(H, 7, 2, 2, d)``."""

    message: Tensor
    query: Tensor
    key: Tensor
    message_table: Tensor
    key_table: Tensor


class _Partial(NamedTuple):
    """Softmax over some of the edges into each of n genes, to be merged with the others.

    ``weighted (H, n, d)`` and ``total (H, n)`` are relative to exp of ``peak (H, n)``, the largest of these logits.
    """

    weighted: Tensor
    total: Tensor
    peak: Tensor


def attend_pairs(states: NodeStates, graph: PairGraph) -> Tensor:
    """Attention-weighted sum of the messages into every gene, ``(H, G, d)``; each gene has a self loop as well."""
    n_heads, n_genes, _ = states.query.shape
    loop = _self_loops(states, graph.node_type)
    if not graph.relations:
        return loop.weighted
    forward = _by_blocks(_into_targets, n_genes, n_heads * len(graph.regulators), states, graph)
    merged = _merge(loop, forward)
    inverse = _by_blocks(_into_regulators, len(graph.regulators), n_heads * n_genes, states, graph)
    at = graph.regulators
    of_regulators = _merge(_Partial(merged.weighted[:, at], merged.total[:, at], merged.peak[:, at]), inverse)
    plain = merged.weighted / merged.total.unsqueeze(-1)
    return plain.index_copy(1, at, of_regulators.weighted / of_regulators.total.unsqueeze(-1))


def _by_blocks(
    part: Callable[[NodeStates, PairGraph, slice], _Partial],
    n_rows: int,
    values_per_row: int,
    states: NodeStates,
    graph: PairGraph,
) -> _Partial:
    """``part`` of all rows; of large networks block by block, each computed anew in the backward pass."""
    step = max(1, _BLOCK_VALUES // values_per_row)
    if step >= n_rows:
        return part(states, graph, slice(0, n_rows))
    blocks = [
        checkpoint(part, states, graph, slice(start, min(start + step, n_rows)), use_reentrant=False)
        for start in range(0, n_rows, step)
    ]
    return _Partial(*(torch.cat(pieces, dim=1) for pieces in zip(*blocks, strict=True)))


def _into_targets(states: NodeStates, graph: PairGraph, genes: slice) -> _Partial:
    """Messages regulator → gene into a block of genes."""
    query, message = states.query[:, graph.regulators], states.message[:, graph.regulators]  # (H, R, d)
    node_type = graph.node_type[genes]
    partials = []
    for number, mask in graph.relations:
        key = states.key[:, genes] + _by_type(states.key_table[:, number, 1], node_type)  # (H, n, d)
        weight, total, peak = _exponentials(key @ query.transpose(1, 2), mask[:, genes].T, key.shape[-1])
        extra = total.unsqueeze(-1) * _by_type(states.message_table[:, number, 1], node_type)  # (H, n, d)
        partials.append(_Partial(weight @ message + extra, total, peak))
    return _merge(*partials)


def _into_regulators(states: NodeStates, graph: PairGraph, rows: slice) -> _Partial:
    """Messages gene → regulator, the inverse relations, into a block of regulators."""
    key = states.key[:, graph.regulators[rows]]  # (H, n, d)
    partials = []
    for number, mask in graph.relations:
        relation = number + INVERSE
        bias = (states.query * _by_type(states.key_table[:, relation, :, 1], graph.node_type)).sum(-1)  # (H, G)
        message = states.message + _by_type(states.message_table[:, relation, :, 1], graph.node_type)  # (H, G, d)
        products = torch.baddbmm(bias.unsqueeze(1), key, states.query.transpose(1, 2))  # (H, n, G)
        weight, total, peak = _exponentials(products, mask[rows], key.shape[-1])
        partials.append(_Partial(weight @ message, total, peak))
    return _merge(*partials)


def _self_loops(states: NodeStates, node_type: Tensor) -> _Partial:
    key = states.key + _by_type(states.key_table[:, SELF_LOOP].diagonal(dim1=1, dim2=2).mT, node_type)
    logit = (states.query * key).sum(-1) / math.sqrt(key.shape[-1])  # (H, G)
    message = states.message + _by_type(states.message_table[:, SELF_LOOP].diagonal(dim1=1, dim2=2).mT, node_type)
    peak = logit.detach()
    weight = (logit - peak).exp()  # 1, with the gradient of the logit
    return _Partial(weight.unsqueeze(-1) * message, weight, peak)


def _by_type(table: Tensor, node_type: Tensor) -> Tensor:
    """Row of ``table (H, 2, d)`` for each gene's type, ``(H, n, d)``; indexing would be slow in the backward pass."""
    return torch.nn.functional.one_hot(node_type, 2).to(table) @ table


def _exponentials(products: Tensor, mask: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of ``q·k`` ``(H, n, m)``: exp of the logits in ``mask (n, m)`` less the row's largest, their sum, the largest."""
    logits = products.mul(width**-0.5).masked_fill(~mask, -torch.inf)
    peak = logits.detach().amax(-1).clamp(min=torch.finfo(logits.dtype).min)  # of a row without an edge: finite
    weight = (logits - peak.unsqueeze(-1)).exp()
    return weight, weight.sum(-1), peak


def _merge(*partials: _Partial) -> _Partial:
    """Several parts of one softmax as one."""
    first, *others = partials
    for other in others:
        peak = torch.maximum(first.peak, other.peak)
        left, right = (first.peak - peak).exp(), (other.peak - peak).exp()
        first = _Partial(
            first.weighted * left.unsqueeze(-1) + other.weighted * right.unsqueeze(-1),
            first.total * left + other.total * right,
            peak,
        )
    return first
