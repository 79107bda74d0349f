"""Logits of all pairs by the fitted networks of an ensemble: their mean, and their spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from .link_training import row_blocks
from .prior_graph import message_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scgrn_tl.core.network import PriorNetwork

    from .link_scorer import LinkChannels
    from .pair_attention import PairGraph
    from .prior_graph import RelationalGraph
    from .sctransnet import GeneInputs, ScTransNetModule

__all__ = ["EnsembleLogits", "ensemble_logits", "graph_of"]


class EnsembleLogits(NamedTuple):
    """Of every pair of a regulator and a gene."""

    matrix: np.ndarray
    """``float32 (R, G)``, the mean over the members."""
    hub: np.ndarray | None
    """``float32 (R, G)``, its hub part; ``None`` of models without hub terms."""
    std: np.ndarray | None
    """``float32 (R, G)``, the spread over the members; ``None`` of a single one."""


@torch.no_grad()
def ensemble_logits(
    modules: Sequence[ScTransNetModule], channels: Sequence[LinkChannels], inputs: GeneInputs
) -> EnsembleLogits:
    """Score a block of regulators at a time.

    Parameters
    ----------
    modules
        The members.
    channels
        What each scores pairs from.
    inputs
        The genes' hub rates are read from these.
    """
    shape = (len(inputs.regulators), len(inputs.target_rate))
    matrix = np.empty(shape, dtype=np.float32)
    hub = np.empty(shape, dtype=np.float32) if modules[0].config.hub_terms else None
    std = np.empty(shape, dtype=np.float32) if len(modules) > 1 else None
    for rows in row_blocks(*shape):
        parts = [module.logits(own, inputs, rows) for module, own in zip(modules, channels, strict=True)]
        logits = torch.stack([score + own_hub for score, own_hub in parts]).float().cpu().numpy()
        matrix[rows] = logits.mean(axis=0)
        if hub is not None:
            hub[rows] = torch.stack([own_hub for _, own_hub in parts]).float().cpu().numpy().mean(axis=0)
        if std is not None:
            std[rows] = logits.std(axis=0, ddof=1)
    return EnsembleLogits(matrix, hub, std)


def graph_of(inputs: GeneInputs, prior: PriorNetwork) -> RelationalGraph | PairGraph:
    """The prior's edges as the graph network walks them."""
    device = inputs.features.device
    return message_graph(
        torch.from_numpy(np.ascontiguousarray(prior.edge_index)).to(device),
        torch.from_numpy(prior.sign.astype(np.int64)).to(device),
        regulators=inputs.regulators,
        node_type=inputs.node_type,
    )
