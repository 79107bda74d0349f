"""scTransNet as its paper describes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._handed_on import with_parameters_of
from ._registry import method
from .sctransnet import check_sctransnet, sctransnet

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNScores, GRNTask

__all__ = ["PAPER", "sctransnet_paper"]

PAPER: dict[str, Any] = {
    "gene_features": "expression",
    "gnn_widths": (256, 128),
    "channel_hidden": 128,
    "channel_width": 64,
    "hub_terms": False,
    "weight_decay": 0.0,
    "negatives": "hard",
    "select": "auprc",
    "patience": 100,
}
"""Parameters of scTransNet that the paper has otherwise."""


@method(
    name="sctransnet_paper",
    supervised=True,
    directed=True,
    stochastic=True,
    reads_sparse=True,
    uses_embedding=True,
    default_rep="scbert",
    reference="Kommu et al. 2024",
    check=check_sctransnet,
)
@with_parameters_of(sctransnet, **PAPER)
def sctransnet_paper(task: GRNTask, **params: Any) -> GRNScores:
    """Gene embedding and prior graph as published (scTransNet's paper).

    scTransNet with the paper's settings for defaults: scBERT's gene embedding pooled by attention, joined with the
    graph network's states; the bare product of two channels (``hub_terms=False``), without any effect that is fitted to
    edges beforehand; a non-edge of the same regulator for each edge (``negatives="hard"``); the expression of all
    cells for node features (``gene_features="expression"``); Adam without weight decay, 100 epochs, of which the best
    on validation pairs is kept by average precision (``select="auprc"``).

    What the paper does not say is as in ``"sctransnet"``: edges that are learned from are hidden from the graph
    (``hidden_edges``), dropout, attention heads. One thing is so too that the paper has
    otherwise: an epoch is one step over all its pairs, not one for each mini-batch.

    Parameters
    ----------
    task
        With a prior, a split and an embedding.
    **params
        scTransNet's, other defaults for ``gene_features``, ``gnn_widths``, ``channel_hidden``, ``channel_width``,
        ``hub_terms``, ``weight_decay``, ``negatives``, ``select`` and ``patience``.

    Returns
    -------
    As scTransNet's; without a hub part, since nothing tells it from the rest.
    """
    return sctransnet(task, **(PAPER | params))
