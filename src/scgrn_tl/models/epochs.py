"""Epochs of training with the best one kept: the trainer that every supervised method shares."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["EpochLoop", "Selection", "check_training", "descend"]

Selection = Literal["auroc", "auprc", "loss", "last"]


@dataclass
class EpochLoop:
    """Trains a module epoch by epoch and leaves it, in evaluation mode, at the epoch it is to be used at.

    Attributes
    ----------
    module
        What is trained.
    train_epoch
        One pass over the training pairs; returns the mean loss. The module is in training mode.
    predict
        Scores ``(V,)`` of the validation pairs; called without gradients and in evaluation mode.
    validation_labels
        ``bool (V,)``. Without edges or without non-edges among them, the last epoch is kept.
    epochs
        Most passes.
    patience
        Stop after as many epochs without a better one. Not with ``select="last"``.
    select
        By what validation measure the best epoch is told: ``"auroc"``, ``"auprc"`` (average precision), ``"loss"``
        (mean negative log-likelihood, of scores that are logits), or ``"last"`` for the last epoch whatever it is like.
    is_logit
        Whether the scores are logits; ``validation_loss`` is recorded only of those.
    from_start
        Whether the module before any step is a candidate, as epoch 0.
    on_epoch
        Called after each epoch, for a progress bar.
    history
        ``train_loss``, ``validation_loss``, ``validation_auroc``, ``validation_auprc``: a value per epoch, the
        validation measures with one more in front if ``from_start``.
    best_epoch
        The epoch kept, counted from 1.
    """

    module: nn.Module
    train_epoch: Callable[[], float]
    predict: Callable[[], Tensor]
    validation_labels: np.ndarray
    epochs: int
    patience: int
    select: Selection = "auroc"
    is_logit: bool = True
    from_start: bool = False
    on_epoch: Callable[[], object] | None = None
    history: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int = 0

    def run(self) -> None:
        """Train until the epochs are used up or patience is."""
        measures = ["loss", "auroc", "auprc"] if self.is_logit else ["auroc", "auprc"]
        self.history = {"train_loss": [], **{f"validation_{name}": [] for name in measures}}
        best, best_state = -np.inf, None
        if self.from_start:
            best, best_state = self._validate(), copy.deepcopy(self.module.state_dict())
        for epoch in range(1, self.epochs + 1):
            self.module.train()
            self.history["train_loss"].append(self.train_epoch())
            quality = self._validate()
            if quality > best:
                best, self.best_epoch = quality, epoch
                best_state = copy.deepcopy(self.module.state_dict())
            if self.on_epoch is not None:
                self.on_epoch()
            if epoch - self.best_epoch >= self.patience:
                break
        if best_state is not None:
            self.module.load_state_dict(best_state)
        self.module.eval()

    @torch.no_grad()
    def _validate(self) -> float:
        """Quality on the validation pairs, the higher the better; recorded. Where none can be told, later is better."""
        from sklearn.metrics import average_precision_score, roc_auc_score

        labels, later = self.validation_labels, float(len(self.history["train_loss"]))
        if not labels.any() or labels.all():
            return later
        self.module.eval()
        scores = self.predict().double().cpu().numpy()
        if not np.isfinite(scores).all():
            for name in self.history.keys() - {"train_loss"}:
                self.history[name].append(float("nan"))
            return -np.inf
        measures = {
            "auroc": float(roc_auc_score(labels, scores)),
            "auprc": float(average_precision_score(labels, scores)),
        }
        if self.is_logit:
            measures["loss"] = float(np.mean(np.logaddexp(0, scores) - labels * scores))
        for name, value in measures.items():
            self.history[f"validation_{name}"].append(value)
        if self.select == "last":
            return later
        return -measures["loss"] if self.select == "loss" else measures[self.select]


def descend(
    batches: Iterable[tuple[Tensor, ...]],
    loss_of: Callable[..., Tensor],
    optimizer: torch.optim.Optimizer,
    *,
    after_step: Callable[[], object] | None = None,
) -> float:
    """A step of the optimiser per batch.

    Parameters
    ----------
    batches
        What ``loss_of`` is called with.
    loss_of
        Mean loss of a batch.
    optimizer
        Over the parameters to move.
    after_step
        Called after each step, for schedules that go by the step.

    Returns
    -------
    Mean loss over all batches, each weighted by its size; NaN without batches.
    """
    total, n_seen = 0.0, 0
    for batch in batches:
        loss = loss_of(*batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if after_step is not None:
            after_step()
        total += float(loss.detach()) * len(batch[0])
        n_seen += len(batch[0])
    return total / n_seen if n_seen else float("nan")


def check_training(
    *,
    epochs: int = 1,
    lr: float = 1.0,
    patience: int = 1,
    select: str = "auroc",
    batch_size: int = 1,
    dropout: float = 0.0,
) -> None:
    """Raise :class:`ArgumentError` where settings of a training make no sense; those not given are sound."""
    rules = [
        (f"epochs > 0, not {epochs!r}", epochs > 0),
        (f"0 < lr < inf, not {lr!r}", 0 < lr < float("inf")),
        (f"patience > 0, not {patience!r}", patience > 0),
        (f"batch_size > 0, not {batch_size!r}", batch_size > 0),
        (f"0 <= dropout < 1, not {dropout!r}", 0 <= dropout < 1),
        (f"select in {get_args(Selection)}, not {select!r}", select in get_args(Selection)),
    ]
    if broken := [rule for rule, holds in rules if not holds]:
        msg = f"A training has to satisfy: {'; '.join(broken)}."
        raise ArgumentError(msg)
