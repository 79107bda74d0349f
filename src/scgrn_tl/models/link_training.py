"""Training on labelled pairs: disjoint supervision edges, early stopping on validation pairs (model.md §5, §7)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from .prior_gnn import RelationalGraph

if TYPE_CHECKING:
    from collections.abc import Callable

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
        ``train_loss``, ``validation_loss``, ``validation_auprc``: a value per epoch.
    best_epoch
        Epoch kept; 0 is the model before any step, which is the hub rates alone.
    """

    module: ScTransNetModule
    genes: GeneInputs
    supervision: Supervision
    seed: int
    on_epoch: Callable[[], None] | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0

    def run(self) -> None:
        """Train until the epochs are used up or patience is."""
        config = self.module.config
        device = self.supervision.labels.device
        draws = torch.Generator(device=device)
        draws.manual_seed(self.seed)
        optimizer = torch.optim.AdamW(self.module.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        full_graph = self._graph(torch.ones_like(self.supervision.edge_row, dtype=torch.bool))
        self.history = {"train_loss": [], "validation_loss": [], "validation_auprc": []}
        best, best_state = self._validate(full_graph), copy.deepcopy(self.module.state_dict())
        for epoch in range(1, config.epochs + 1):
            self.module.train()
            hidden, weight = self._draw(draws)
            graph = self._graph(~hidden[self.supervision.edge_row, self.supervision.edge_index[1]])
            score, hub = self.module(self.genes, graph)
            losses = nn.functional.binary_cross_entropy_with_logits(
                score + hub, self.supervision.labels, reduction="none"
            )
            loss = (losses * weight).sum() / weight.sum().clamp(min=1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            self.history["train_loss"].append(float(loss.detach()))
            quality = self._validate(full_graph)
            if quality > best:
                best, self.best_epoch = quality, epoch
                best_state = copy.deepcopy(self.module.state_dict())
            if self.on_epoch is not None:
                self.on_epoch()
            if epoch - self.best_epoch >= config.patience:
                break
        self.module.load_state_dict(best_state)
        self.module.eval()

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

    @torch.no_grad()
    def _validate(self, graph: RelationalGraph | None) -> float:
        """Quality on validation pairs, the higher the better; recorded. Without any, later epochs count as better."""
        from sklearn.metrics import average_precision_score

        labels = self.supervision.validation_labels
        if not labels.any() or labels.all():
            return float(len(self.history["train_loss"]))
        self.module.eval()
        score, hub = self.module(self.genes, graph)
        row, gene = self.supervision.validation
        logits = (score[row, gene] + hub[row, gene]).cpu().double().numpy()
        loss = float(np.mean(np.logaddexp(0, logits) - labels * logits))
        auprc = float(average_precision_score(labels, logits))
        self.history["validation_loss"].append(loss)
        self.history["validation_auprc"].append(auprc)
        return auprc if self.module.config.select == "auprc" else -loss
