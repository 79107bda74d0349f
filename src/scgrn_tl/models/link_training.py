"""Training on labelled pairs: disjoint supervision edges, early stopping on validation pairs (model.md §5, §7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .epochs import EpochLoop, descend
from .prior_gnn import RelationalGraph

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from .sctransnet import GeneInputs, ScTransNetModule

__all__ = ["LinkTrainer", "Supervision"]


@dataclass(frozen=True, eq=False)
class Supervision:
    """Labelled pairs of a training and a validation part, by row of the regulators and gene index.

    Attributes
    ----------
    labels
        ``float32 (R, G)``, 1 at training edges.
    mask
        ``float32 (R, G)``, 1 at training pairs.
    edge_index
        ``int64 (2, E)``, the training edges as gene indices.
    edge_row
        ``int64 (E,)``, row of each one's regulator.
    sign
        ``int64 (E,)``.
    validation
        ``int64 (2, V)``: row, gene.
    validation_labels
        ``bool (V,)``, a NumPy array.
    """

    labels: Tensor
    mask: Tensor
    edge_index: Tensor
    edge_row: Tensor
    sign: Tensor
    validation: Tensor
    validation_labels: np.ndarray


@dataclass
class LinkTrainer:
    """Fits one module; :meth:`run` leaves it at its best epoch.

    Attributes
    ----------
    seed
        Of the masks drawn each epoch.
    on_epoch
        Called after each epoch, for a progress bar.
    history
        See :class:`~scgrn_tl.models.epochs.EpochLoop`.
    best_epoch
        Epoch kept; 0 is the model before any step, which is the hub rates alone.
    """

    module: ScTransNetModule
    genes: GeneInputs
    supervision: Supervision
    seed: int
    on_epoch: Callable[[], object] | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0

    def run(self) -> None:
        """Train until the epochs are used up or patience is."""
        config = self.module.config
        draws = torch.Generator(device=self.supervision.labels.device)
        draws.manual_seed(self.seed)
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        full_graph = self._graph(torch.ones_like(self.supervision.edge_row, dtype=torch.bool))
        loop = EpochLoop(
            self.module,
            train_epoch=lambda: descend([self._draw(draws)], self._loss, optimizer),
            predict=lambda: self._predict(full_graph),
            validation_labels=self.supervision.validation_labels,
            epochs=config.epochs,
            patience=config.patience,
            select=config.select,
            from_start=True,
            on_epoch=self.on_epoch,
        )
        loop.run()
        self.history, self.best_epoch = loop.history, loop.best_epoch

    def _loss(self, hidden: Tensor, weight: Tensor) -> Tensor:
        """Weighted mean loss of all pairs, with these pairs hidden from the graph."""
        graph = self._graph(~hidden[self.supervision.edge_row, self.supervision.edge_index[1]])
        score, hub = self.module(self.genes, graph)
        losses = nn.functional.binary_cross_entropy_with_logits(score + hub, self.supervision.labels, reduction="none")
        return (losses * weight).sum() / weight.sum().clamp(min=1)

    def _predict(self, graph: RelationalGraph | None) -> Tensor:
        score, hub = self.module(self.genes, graph)
        row, gene = self.supervision.validation
        return score[row, gene] + hub[row, gene]

    def _draw(self, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pairs hidden from this epoch's graph (bool), and the weight of every pair in this epoch's loss."""
        config, mask, labels = self.module.config, self.supervision.mask, self.supervision.labels
        if config.use_gnn:
            hidden = torch.rand(mask.shape, generator=draws, device=mask.device) < config.hidden_edges
            weight = mask * hidden
        else:
            hidden, weight = torch.zeros_like(mask, dtype=torch.bool), mask
        if config.negatives == "hard":
            # Per regulator as many non-edges as edges are learned from, those with the smallest random keys.
            n_edges = (weight * labels).sum(1, keepdim=True)
            keys = torch.rand(mask.shape, generator=draws, device=mask.device)
            keys = torch.where((weight > 0) & (labels == 0), keys, torch.inf)
            rank = keys.argsort(dim=1).argsort(dim=1)
            weight = weight * ((labels > 0) | (rank < n_edges))
        return hidden, weight

    def _graph(self, visible: Tensor) -> RelationalGraph | None:
        if not self.module.config.use_gnn:
            return None
        supervision = self.supervision
        return RelationalGraph.from_edges(
            supervision.edge_index[:, visible], supervision.sign[visible], self.genes.node_type
        )
