"""Masked-expression training of an encoder (Yang et al. 2022, scBERT's pretraining)."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.tokens import MASK_TOKEN, N_TOKENS

from .threads import threads_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from .scbert import ScBERT

__all__ = ["MaskedTrainer", "mask_expressed"]

EXPRESSED_BINS = slice(1, MASK_TOKEN)
"""Tokens that a masked position can have: neither zero, which is never masked, nor the mask itself."""


def mask_expressed(
    tokens: Tensor, generator: torch.Generator, *, mask_fraction: float = 0.15, replace_probability: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Choose ``ceil(mask_fraction · expressed)`` of every cell's expressed positions, and hide most of them.

    As in scBERT, positions with token 0 are never chosen, and a chosen one becomes the mask token with
    ``replace_probability`` and keeps its token otherwise.

    Parameters
    ----------
    tokens
        ``int64 (B, T)``, on the generator's device.
    generator
        Source of randomness.

    Returns
    -------
    masked
        ``int64 (B, T)``, the encoder's input.
    chosen
        ``bool (B, T)``, the positions to predict.
    """
    expressed = tokens > 0
    quota = (expressed.sum(dim=1, keepdim=True) * mask_fraction).ceil()  # (B, 1)
    draws = torch.rand(tokens.shape, generator=generator, device=generator.device)
    rank = draws.masked_fill(~expressed, 2.0).argsort(dim=1).argsort(dim=1)  # expressed positions first
    chosen = expressed & (rank < quota)
    replaced = torch.rand(tokens.shape, generator=generator, device=generator.device) < replace_probability
    return tokens.masked_fill(chosen & replaced, MASK_TOKEN), chosen


@dataclass
class MaskedTrainer:
    """Trains an encoder to predict hidden expression bins, and leaves it at the epoch with the best validation loss.

    The loss is the cross-entropy at the chosen positions. Every step sees a random part of the cells and, where there
    are more than ``max_genes`` genes, of the genes. Validation cells are never trained on; their masks and genes are
    drawn once, so that epochs can be compared.

    Attributes
    ----------
    model
        The encoder, on the device where it is to be trained. Its random features stay as they are.
    tokens
        ``uint8 (N, T)``, tokens of every cell over all of the encoder's genes.
    seed
        Of the held-out cells, masks, batches and genes. The same seed gives the same bits on the same CPU and number of
        threads.
    max_epochs, batch_size, learning_rate
        Of Adam; the learning rate rises over the first tenth of the steps and falls to zero along a cosine.
    patience
        Epochs without a better validation loss after which training stops.
    validation_fraction
        Share of the cells held out, at least one cell.
    max_genes
        Most genes in a step's sequence.
    mask_fraction, replace_probability
        See :func:`mask_expressed`.
    on_epoch
        Called after each epoch, for a progress bar.
    history
        ``train_loss``, ``validation_loss`` and ``validation_accuracy``: a value per epoch.
    best_epoch
        The epoch kept, counted from 1.
    accuracy
        Share of the validation cells' hidden bins that the kept model predicts.
    baseline_accuracy
        The same of always predicting the training cells' most common expressed bin.
    """

    model: ScBERT
    tokens: np.ndarray
    seed: int = 0
    max_epochs: int = 10
    batch_size: int = 4
    learning_rate: float = 3e-3
    patience: int = 3
    validation_fraction: float = 0.1
    max_genes: int = 1024
    mask_fraction: float = 0.15
    replace_probability: float = 0.9
    on_epoch: Callable[[], None] | None = None
    history: dict[str, list[float]] = field(default_factory=dict, init=False)
    best_epoch: int = field(default=0, init=False)
    accuracy: float = field(default=float("nan"), init=False)
    baseline_accuracy: float = field(default=float("nan"), init=False)

    def run(self) -> None:
        """Train until the epochs are used up or patience is.

        Raises
        ------
        ArgumentError
            If there are fewer than two cells with an expressed gene, or training diverges.
        """
        n_genes = min(self.tokens.shape[1], self.max_genes)
        with threads_for(self.batch_size * n_genes * self.model.config.dim):
            self._run()

    def _run(self) -> None:
        usable = np.flatnonzero((self.tokens > 0).any(axis=1))
        if len(usable) < 2:
            msg = f"Training needs two cells with expressed genes, one of them to hold out; there are {len(usable)}."
            raise ArgumentError(msg)
        # masks are drawn on the CPU, so that every device sees the same ones
        self._generator = torch.Generator().manual_seed(self.seed)
        shuffled = usable[torch.randperm(len(usable), generator=self._generator).numpy()]
        n_validation = min(max(1, round(self.validation_fraction * len(usable))), len(usable) - 1)
        held_out, train = np.sort(shuffled[:n_validation]), np.sort(shuffled[n_validation:])
        # a gene seen in no training cell teaches nothing
        self._detected = torch.from_numpy(np.flatnonzero((self.tokens[train] > 0).any(axis=0)))
        validation = list(self._batches(held_out, shuffle=False))
        self._score_baseline(train, validation)

        steps = self.max_epochs * -(-len(train) // self.batch_size)
        optimizer = torch.optim.Adam(self.model.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.learning_rate, total_steps=max(steps, 2), pct_start=0.1, cycle_momentum=False
        )
        self.history = {"train_loss": [], "validation_loss": [], "validation_accuracy": []}
        best_loss, best_weights = float("inf"), copy.deepcopy(self.model.state_dict())
        for epoch in range(1, self.max_epochs + 1):
            losses = []
            for batch in self._batches(train, shuffle=True):
                loss = self._loss(*batch)[0]
                optimizer.zero_grad()
                loss.backward()
                if (gradient := self.model.pos_emb.emb.weight.grad) is not None:
                    gradient[-1] = 0  # the vector that ends a sequence stays zero, as in scBERT
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            validation_loss, accuracy = self._validate(validation)
            self.history["train_loss"].append(float(np.mean(losses)))
            self.history["validation_loss"].append(validation_loss)
            self.history["validation_accuracy"].append(accuracy)
            if validation_loss < best_loss:
                best_loss, best_weights = validation_loss, copy.deepcopy(self.model.state_dict())
                self.best_epoch, self.accuracy = epoch, accuracy
            if self.on_epoch is not None:
                self.on_epoch()
            if epoch - self.best_epoch >= self.patience:
                break
        if self.best_epoch == 0:
            msg = (
                f"Training of the encoder diverged: no epoch had a finite loss (learning_rate={self.learning_rate:g}). "
                "Take a smaller learning_rate."
            )
            raise ArgumentError(msg)
        self.model.load_state_dict(best_weights)

    def _batches(self, cells: np.ndarray, *, shuffle: bool) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Masked tokens ``(B, t)``, true tokens ``(B, t)`` and gene positions ``(t,)`` of batches of cells."""
        if shuffle:
            cells = cells[torch.randperm(len(cells), generator=self._generator).numpy()]
        for start in range(0, len(cells), self.batch_size):
            positions = self._detected
            if len(positions) > self.max_genes:
                drawn = torch.randperm(len(positions), generator=self._generator)[: self.max_genes]
                positions = positions[drawn.sort().values]
            batch = self.tokens[np.ix_(cells[start : start + self.batch_size], positions.numpy())]
            tokens = torch.from_numpy(batch.astype(np.int64))
            masked, chosen = mask_expressed(
                tokens,
                self._generator,
                mask_fraction=self.mask_fraction,
                replace_probability=self.replace_probability,
            )
            if chosen.any():
                yield masked, tokens.masked_fill(~chosen, 0), positions

    def _loss(self, masked: Tensor, labels: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean loss over the P hidden positions, their logits ``(P, 7)`` and bins ``(P,)``. Label 0 is ignored."""
        device = next(self.model.parameters()).device
        hidden = labels > 0
        logits = self.model.logits(masked.to(device), positions.to(device))[hidden.to(device)]  # (P, 7)
        bins = labels[hidden].to(device)
        return nn.functional.cross_entropy(logits.float(), bins), logits, bins

    @torch.no_grad()
    def _validate(self, batches: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[float, float]:
        """Loss and accuracy per hidden position over ``batches``."""
        loss_sum, correct, n_hidden = 0.0, 0, 0
        for batch in batches:
            loss, logits, bins = self._loss(*batch)
            predicted = logits[:, EXPRESSED_BINS].argmax(dim=1) + EXPRESSED_BINS.start
            loss_sum += loss.item() * len(bins)
            correct += int((predicted == bins).sum())
            n_hidden += len(bins)
        return loss_sum / n_hidden, correct / n_hidden

    def _score_baseline(self, train: np.ndarray, validation: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """How often the most common expressed bin of the training cells is right; checks that there is a validation."""
        if not validation:
            msg = "The held-out cells express no gene that the training cells express: too few cells to train on."
            raise ArgumentError(msg)
        counts = np.bincount(self.tokens[train].ravel(), minlength=N_TOKENS)[EXPRESSED_BINS]
        most_common = int(counts.argmax()) + EXPRESSED_BINS.start
        bins = torch.cat([labels[labels > 0] for _, labels, _ in validation])
        self.baseline_accuracy = float((bins == most_common).float().mean())
