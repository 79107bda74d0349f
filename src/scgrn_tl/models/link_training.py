"""Training on labelled pairs: disjoint supervision edges, early stopping on validation pairs (model.md §5, §7)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .epochs import EpochLoop, descend
from .seeding import use_generator

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from .joint_training import JointEncoder
    from .link_scorer import LinkChannels
    from .pair_attention import PairGraph
    from .prior_graph import RelationalGraph
    from .sctransnet import GeneInputs, ScTransNetModule

__all__ = ["LinkTrainer", "Supervision", "row_blocks"]

_BLOCK_PAIRS = 2**22
"""Pairs of a regulator and a gene whose logits are held at a time."""


def row_blocks(n_rows: int, n_genes: int) -> list[slice]:
    """Blocks of regulators, each with about as many pairs as are held at a time."""
    step = max(1, _BLOCK_PAIRS // n_genes)
    return [slice(start, min(start + step, n_rows)) for start in range(0, n_rows, step)]


@dataclass(frozen=True, eq=False)
class Supervision:
    """Labelled pairs of a training and a validation part, by row of the regulators and gene index.

    Attributes
    ----------
    labels
        ``bool (R, G)``, true at training edges.
    mask
        ``bool (R, G)``, true at training pairs.
    graph
        All training edges; ``None`` for a model without a graph.
    validation
        ``int64 (2, V)``: row, gene.
    validation_labels
        ``bool (V,)``, a NumPy array.
    held_out
        ``float32 (R, G)``, what is added to the logit of a training pair so that its pair effects are those that were
        fitted without it: what is learned then is what they leave of pairs they never saw. ``None`` without.
    """

    labels: Tensor
    mask: Tensor
    graph: RelationalGraph | PairGraph | None
    validation: Tensor
    validation_labels: np.ndarray
    held_out: Tensor | None = None


@dataclass
class LinkTrainer:
    """Fits one module; :meth:`run` leaves it at its best epoch.

    Of a large network no more than a block of its pairs is held at a time, in the forward and in the backward pass.

    Attributes
    ----------
    seed
        Of the masks drawn each epoch.
    dropout
        What dropout draws from; torch's global state if ``None``.
    on_epoch
        Called after each epoch, for a progress bar.
    encoder
        Makes the gene embedding and is trained along; that of ``genes`` stays as it is if ``None``.
    history
        See :class:`~scgrn_tl.models.epochs.EpochLoop`.
    best_epoch
        Epoch kept; 0 is the model before any step, which is the pair effects alone.
    """

    module: ScTransNetModule
    genes: GeneInputs
    supervision: Supervision
    seed: int
    dropout: torch.Generator | None = None
    on_epoch: Callable[[], object] | None = None
    encoder: JointEncoder | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0

    def __post_init__(self) -> None:
        self._blocks = row_blocks(*self.supervision.mask.shape)
        row = self.supervision.validation[0]
        self._validation_of = [
            ((row >= block.start) & (row < block.stop)).nonzero().squeeze(1) for block in self._blocks
        ]

    @property
    def n_values(self) -> int:
        """Values of the largest activation of one step."""
        of_link_model = len(self.genes.features) * max(self.module.config.gnn_widths)
        return of_link_model if self.encoder is None else max(of_link_model, self.encoder.n_values)

    def run(self) -> None:
        """Train until the epochs are used up or patience is; a network that reads nothing stays as it is."""
        if self.module.scorer is None:
            self.module.eval()
            return
        config = self.module.config
        draws = torch.Generator(device=self.supervision.labels.device)
        draws.manual_seed(self.seed)
        groups: list[dict[str, Any]] = [{"params": self.module.parameters()}]
        trained: nn.Module = self.module
        if self.encoder is not None:
            groups.append({"params": self.encoder.parameters(), "lr": config.joint_lr, "weight_decay": 0.0})
            trained = nn.ModuleList([self.module, self.encoder])
            self.encoder.seed_draws(self.seed)
        optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
        loop = EpochLoop(
            trained,
            train_epoch=lambda: descend([self._draw(draws)], self._loss, optimizer),
            predict=self._predict,
            validation_labels=self.supervision.validation_labels,
            epochs=config.epochs,
            patience=config.patience,
            select=config.select,
            from_start=True,
            on_epoch=self.on_epoch,
        )
        with use_generator(self.module, self.dropout):
            loop.run()
        self.history, self.best_epoch = loop.history, loop.best_epoch

    def _channels(self, graph: RelationalGraph | PairGraph | None) -> LinkChannels:
        """The module's, of the gene embedding as it is now: in training that of cells drawn anew."""
        if self.encoder is None:
            return self.module.channels(self.genes, graph)
        pooled = self.encoder.of_drawn_cells if self.module.training else self.encoder.of_fixed_cells
        embedding = pooled(self.module.config.joint_cells).to(self.genes.features)
        return self.module.channels(self.genes, graph, embedding=embedding)

    def _loss(self, hidden: Tensor, chosen: Tensor) -> Tensor:
        """Mean loss of the ``chosen`` pairs, with the ``hidden`` ones taken out of the graph; ``bool (R, G)`` each."""
        channels = self._channels(self._graph_without(hidden))
        if len(self._blocks) == 1:
            total = self._summed_loss(channels, self._blocks[0], chosen)
        else:
            parts = [
                checkpoint(self._summed_loss, channels, rows, chosen[rows], use_reentrant=False)
                for rows in self._blocks
            ]
            total = torch.stack(parts).sum()
        return total / chosen.sum().clamp(min=1)

    def _summed_loss(self, channels: LinkChannels, rows: slice, chosen: Tensor) -> Tensor:
        score, hub = self.module.logits(channels, self.genes, rows)
        logit = score + hub
        if self.supervision.held_out is not None:
            logit = logit + self.supervision.held_out[rows]
        labels = self.supervision.labels[rows].to(logit)
        losses = nn.functional.binary_cross_entropy_with_logits(logit, labels, reduction="none")
        return (losses * chosen).sum()

    def _predict(self) -> Tensor:
        """Logits ``(V,)`` of the validation pairs."""
        channels = self._channels(self.supervision.graph)
        row, gene = self.supervision.validation
        found = torch.empty(len(row), device=row.device)
        for rows, at in zip(self._blocks, self._validation_of, strict=True):
            if len(at):
                score, hub = self.module.logits(channels, self.genes, rows)
                place = row[at] - rows.start, gene[at]
                found[at] = score[place] + hub[place]
        return found

    def _draw(self, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pairs hidden from this epoch's graph, and pairs that this epoch learns from; ``bool (R, G)`` each."""
        config, mask, labels = self.module.config, self.supervision.mask, self.supervision.labels
        if config.use_gnn:
            hidden = torch.rand(mask.shape, generator=draws, device=mask.device) < config.hidden_edges
            # the graph is walked both ways: of two regulators both pairs are hidden, or none
            regulators = self.genes.regulators
            one_way = hidden[:, regulators].triu()
            hidden[:, regulators] = one_way | one_way.T
            chosen = mask & hidden
        else:
            hidden, chosen = torch.zeros_like(mask), mask
        if config.negatives == "hard":
            # Per regulator as many non-edges as edges are learned from, those with the smallest random keys.
            keys = torch.rand(mask.shape, generator=draws, device=mask.device)
            keys.masked_fill_(~chosen | labels, torch.inf)
            n_edges = (chosen & labels).sum(1, keepdim=True)
            few = torch.cat([keys[rows].argsort(dim=1).argsort(dim=1) < n_edges[rows] for rows in self._blocks])
            chosen = chosen & (labels | few)
        return hidden, chosen

    def _graph_without(self, hidden: Tensor) -> RelationalGraph | PairGraph | None:
        graph = self.supervision.graph
        return None if graph is None else graph.without(hidden)
