"""What an edge of the network owes to edges of the prior: attention to them, and what changes without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from scipy import sparse

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.network import PriorNetwork

from .prior_graph import RelationalGraph

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .pair_attention import PairGraph
    from .prior_gnn import PriorGNN
    from .sctransnet import GeneInputs, ScTransNetModule

__all__ = ["EdgeEffect", "edge_effects", "mean_attention"]


class EdgeEffect(NamedTuple):
    """What leaving one edge of the prior out of the graph does to the logit of a pair."""

    source: str
    """Regulator of the edge that is left out."""
    target: str
    """Its target."""
    regulator_attention: float
    """How much the pair's regulator attends to the other end of this edge; 0 if it is at neither end."""
    target_attention: float
    """How much the pair's target does."""
    logit_change: float
    """Logit without the edge less logit with it: below 0, the edge speaks for the pair."""
    specificity_change: float
    """The part of that which is not in the hub terms."""


def mean_attention(
    modules: Sequence[ScTransNetModule],
    inputs: GeneInputs,
    prior: PriorNetwork,
    graph: RelationalGraph | PairGraph | None,
) -> sparse.csr_matrix:
    """Attention to every message (eq. 12), the mean over heads, layers and members.

    Parameters
    ----------
    modules
        The members, all with a graph network.
    inputs
        Their genes.
    prior
        The edges that carry messages.
    graph
        The same in the form in which members walk it.

    Returns
    -------
    ``float32 (G, G)``. The row is the gene that a message comes from, the column the gene that reads it. Messages run
    along the prior's edges, against them, and from every gene to itself; every column sums to 1. Where an edge leads
    either way between two genes, the entry is the sum of two messages.
    """
    messages = _messages(inputs, prior)
    total = torch.zeros(len(messages.relation), dtype=torch.float64)
    for module in modules:
        total += cast("PriorGNN", module.gnn).attention(inputs.features, messages, graph=graph).double().cpu()
    source, reader = messages.edge_index.cpu().numpy()
    n_genes = len(inputs.features)
    mean = (total / len(modules)).numpy()
    return sparse.csr_matrix((mean, (source, reader)), shape=(n_genes, n_genes)).astype(np.float32)


def edge_effects(
    modules: Sequence[ScTransNetModule],
    inputs: GeneInputs,
    prior: PriorNetwork,
    *,
    pair: tuple[int, int],
    n_messages: int,
    graph_of: Callable[[GeneInputs, PriorNetwork], RelationalGraph | PairGraph | None],
) -> list[EdgeEffect]:
    """The logit of a pair without single edges of the prior: each is left out of the graph in turn.

    The weights stay those that were learned with the edge there. A gene reads the graph over several layers, so an edge
    that touches neither gene may matter too; it is not tried.

    Parameters
    ----------
    modules, inputs, prior
        As :func:`mean_attention` takes them.
    pair
        Place of the regulator among the regulators, and gene index of the target.
    n_messages
        Messages whose edges are tried, for each of the two genes.
    graph_of
        Makes the graph that is walked out of edges.

    Returns
    -------
    One effect per edge tried, the largest change of the logit first.

    Raises
    ------
    ArgumentError
        If the members have no graph, or ``n_messages`` is not a whole number above 0.
    """
    if n_messages < 1:
        msg = f"n_messages is a whole number above 0, not {n_messages!r}."
        raise ArgumentError(msg)
    if modules[0].gnn is None:
        msg = "This model has no graph (use_gnn=False), so there is no edge to leave out."
        raise ArgumentError(msg)
    genes = int(inputs.regulators[pair[0]]), pair[1]
    attention = mean_attention(modules, inputs, prior, graph_of(inputs, prior))
    read = [attention[:, gene].toarray().ravel() for gene in genes]  # (G,) each
    base = _pair_logit(modules, inputs, graph_of(inputs, prior), pair)
    effects = []
    for number in _edges_to_try(prior, genes, read, int(n_messages)):
        kept = np.arange(prior.n_edges) != number
        fewer = PriorNetwork(prior.genes, prior.edge_index[:, kept], prior.sign[kept], prior.weight[kept])
        score, hub = _pair_logit(modules, inputs, graph_of(inputs, fewer), pair) - base
        source, target = prior.edge_index[:, number].tolist()
        attends = [
            float(values[target if gene == source else source]) if gene in (source, target) else 0.0
            for gene, values in zip(genes, read, strict=True)
        ]
        effects.append(
            EdgeEffect(
                prior.genes[source], prior.genes[target], attends[0], attends[1], float(score + hub), float(score)
            )
        )
    return sorted(effects, key=lambda effect: -abs(effect.logit_change))


def _messages(inputs: GeneInputs, prior: PriorNetwork) -> RelationalGraph:
    device = inputs.features.device
    return RelationalGraph.from_edges(
        torch.from_numpy(np.ascontiguousarray(prior.edge_index)).to(device),
        torch.from_numpy(prior.sign.astype(np.int64)).to(device),
        inputs.node_type,
    )


def _edges_to_try(prior: PriorNetwork, genes: tuple[int, int], read: list[np.ndarray], n_messages: int) -> list[int]:
    """Numbers of the prior's edges that either gene attends to most, and of that between the two."""
    sources, targets = prior.edge_index
    chosen = np.flatnonzero((sources == genes[0]) & (targets == genes[1])).tolist()
    for gene, values in zip(genes, read, strict=True):
        touching = np.flatnonzero((sources == gene) | (targets == gene))
        sender = np.where(sources[touching] == gene, targets[touching], sources[touching])
        chosen += touching[np.argsort(-values[sender], kind="stable")][:n_messages].tolist()
    return list(dict.fromkeys(chosen))


@torch.no_grad()
def _pair_logit(
    modules: Sequence[ScTransNetModule],
    inputs: GeneInputs,
    graph: RelationalGraph | PairGraph | None,
    pair: tuple[int, int],
) -> np.ndarray:
    """Score and hub part ``float64 (2,)`` of one pair, the mean over members."""
    row, column = pair
    total = np.zeros(2)
    for module in modules:
        score, hub = module.logits(module.channels(inputs, graph), inputs, slice(row, row + 1))
        total += float(score[0, column]), float(hub[0, column])
    return total / len(modules)
