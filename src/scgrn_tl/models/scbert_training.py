"""How scvi-tools trains a :class:`ScBERTModule`: the steps it takes, the epoch it keeps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from scvi.train import TrainingPlan
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning.pytorch import LightningModule, Trainer
    from torch import Tensor

    from .scbert_module import ScBERTModule

__all__ = ["BestEpoch", "MaskedTrainingPlan"]


class MaskedTrainingPlan(TrainingPlan):
    """Adam on the loss of the hidden bins; the learning rate rises, then falls to zero along a cosine.

    Logs ``train_loss``, ``train_accuracy``, ``validation_loss``, ``validation_accuracy`` and, beside the last, what
    always naming each gene's usual bin would reach: ``validation_accuracy_usual_bin``. All are means over hidden
    positions.

    Parameters
    ----------
    module
        What is trained.
    lr
        Largest learning rate.
    one_cycle
        Whether the learning rate rises over the first tenth of the steps and falls to zero; constant if ``False``.
    weight_decay, eps
        Of Adam.
    **kwargs
        See :class:`scvi.train.TrainingPlan`.
    """

    def __init__(
        self,
        module: ScBERTModule,
        *,
        lr: float = 3e-3,
        one_cycle: bool = True,
        weight_decay: float = 0.0,
        eps: float = 1e-8,
        **kwargs: Any,
    ) -> None:
        super().__init__(module, lr=lr, weight_decay=weight_decay, eps=eps, **kwargs)
        self._one_cycle = one_cycle

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """One step of the optimiser."""
        return self._step(batch, "train")

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss and accuracy of held-out cells."""
        self._step(batch, "validation")

    def _step(self, batch: dict[str, Tensor], part: str) -> Tensor:
        _, _, output = self.module(batch)
        counts = output.extra_metrics
        n_hidden = float(counts["n_hidden"])
        measures = {f"{part}_loss": output.loss.detach(), f"{part}_accuracy": counts["n_right"] / max(n_hidden, 1)}
        if part == "validation":
            measures["validation_accuracy_usual_bin"] = counts["n_usual"] / max(n_hidden, 1)
        self.log_dict(measures, on_step=False, on_epoch=True, batch_size=int(n_hidden), sync_dist=self.use_sync_dist)
        return output.loss

    def on_validation_epoch_start(self) -> None:
        """Every epoch is validated on the same masks."""
        self.trainer.datamodule.rewind()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The vector that ends a sequence stays zero, as in scBERT."""
        gradient = self.module.encoder.pos_emb.emb.weight.grad
        if gradient is not None:
            gradient[-1] = 0

    def configure_optimizers(self) -> dict[str, Any]:
        """Optimiser and schedule (Lightning's hook)."""
        config: dict[str, Any] = super().configure_optimizers()
        if self._one_cycle and not self.reduce_lr_on_plateau:
            schedule = torch.optim.lr_scheduler.OneCycleLR(
                config["optimizer"],
                max_lr=self.lr,
                total_steps=max(int(self.trainer.estimated_stepping_batches), 2),
                pct_start=0.1,
                cycle_momentum=False,
            )
            config["lr_scheduler"] = {"scheduler": schedule, "interval": "step"}
        return config


class BestEpoch(Callback):
    """Keeps the weights of the epoch with the least validation loss, and puts them back when training ends.

    Attributes
    ----------
    epoch
        That epoch, counted from 1; 0 if none had a finite loss.
    history
        Measure → its value in each epoch.

    Parameters
    ----------
    on_epoch
        Called after each epoch with the number of epochs there can be, for a progress bar.
    restore
        Whether the weights are kept at all; if not, those of the last epoch stay.
    """

    def __init__(self, on_epoch: Callable[[int], object] | None = None, *, restore: bool = True) -> None:
        self.epoch = 0
        self.history: dict[str, list[float]] = {}
        self._on_epoch = on_epoch
        self._restore = restore
        self._least = math.inf
        self._weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether this epoch is the best so far."""
        loss = float(trainer.callback_metrics.get("validation_loss", math.nan))
        if trainer.sanity_checking or not loss < self._least:
            return
        self._least, self.epoch = loss, trainer.current_epoch + 1
        if self._restore:
            state = self._module(pl_module).state_dict()
            self._weights = {name: value.detach().clone() for name, value in state.items()}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch's measures."""
        for name, value in trainer.callback_metrics.items():
            self.history.setdefault(name, []).append(float(value))
        if self._on_epoch is not None:
            self._on_epoch(trainer.max_epochs or 0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights back."""
        if self._weights:
            self._module(pl_module).load_state_dict(self._weights)

    @staticmethod
    def _module(plan: LightningModule) -> nn.Module:
        module = plan.module
        assert isinstance(module, nn.Module)
        return module

    def history_frames(self) -> dict[str, pd.DataFrame]:
        """The history as scvi-tools keeps it: a data frame per measure, a row per epoch."""
        return {
            name: pd.DataFrame({name: values}, index=pd.RangeIndex(len(values), name="epoch"))
            for name, values in self.history.items()
        }
