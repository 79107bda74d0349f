"""How scvi-tools trains a :class:`ScBERTModule`: the steps it takes, the epoch it keeps, and what holds if it fails."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback
from scvi.train import TrainingPlan
from torch import nn

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning.pytorch import LightningModule, Trainer
    from scvi.model.base import BaseModelClass
    from torch import Tensor

    from .scbert_module import ScBERTModule

__all__ = ["BestEpoch", "MaskedTrainingPlan", "as_before_on_failure", "check_training"]


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
        options = {"lr_scheduler_metric": "validation_loss"} | kwargs
        super().__init__(module, lr=lr, weight_decay=weight_decay, eps=eps, **options)
        if self.loss_kwargs:  # where scvi-tools' plan collects what it does not know
            msg = f"plan_kwargs: there is no {', '.join(map(repr, self.loss_kwargs))}; leave it out."
            raise ArgumentError(msg)
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
        if not n_hidden:
            return output.loss
        measures = {f"{part}_loss": output.loss.detach(), f"{part}_accuracy": counts["n_right"] / n_hidden}
        if part == "validation":
            measures["validation_accuracy_usual_bin"] = counts["n_usual"] / n_hidden
        # every hidden position counts alike in an epoch's means
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
        That epoch, counted from 1 over all trainings of the model; 0 if none had a finite loss.
    history
        Measure → epoch, counted from 0 → value.

    Parameters
    ----------
    n_before
        Epochs of earlier trainings.
    on_epoch
        Called after each epoch with the number of epochs there can be, for a progress bar.
    """

    def __init__(self, n_before: int = 0, on_epoch: Callable[[int], object] | None = None) -> None:
        self.epoch = 0
        self.history: dict[str, dict[int, float]] = {}
        self._n_before = n_before
        self._on_epoch = on_epoch
        self._least = math.inf
        self._weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether this epoch is the best so far."""
        if trainer.sanity_checking:
            return
        if "validation_loss" not in trainer.callback_metrics:
            msg = (
                "The held-out cells express no gene that the training cells express, or none that was drawn: nothing "
                "of them can be predicted. Take more cells, or a larger max_genes."
            )
            raise ArgumentError(msg)
        self._note(trainer, validation=True)
        loss = float(trainer.callback_metrics["validation_loss"])
        if loss < self._least:
            self._least, self.epoch = loss, self._n_before + trainer.current_epoch + 1
            self._weights = copy_of(self._module(pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch's measures."""
        self._note(trainer, validation=False)
        if self._on_epoch is not None:
            self._on_epoch(trainer.max_epochs or 0)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the best weights back."""
        if self._weights:
            self._module(pl_module).load_state_dict(self._weights)
            self._weights = {}

    def diverged(self) -> bool:
        """Whether a loss was computed, and none that counts was finite."""
        losses = self.history.get("validation_loss") or self.history.get("train_loss", {})
        return bool(losses) and not math.isfinite(min(losses.values(), key=lambda loss: (math.isnan(loss), loss)))

    def history_after(self, earlier: dict[str, pd.DataFrame] | None) -> dict[str, pd.DataFrame]:
        """All measures as scvi-tools keeps them, a frame each with a row per epoch, ``earlier`` trainings first."""
        frames = dict(earlier or {})
        for name, values in self.history.items():
            frame = pd.DataFrame({name: list(values.values())}, index=pd.Index(list(values), name="epoch"))
            frames[name] = pd.concat([frames[name], frame]) if name in frames else frame
        return frames

    def _note(self, trainer: Trainer, *, validation: bool) -> None:
        for name, value in trainer.callback_metrics.items():
            if name.startswith("validation") == validation:
                self.history.setdefault(name, {})[self._n_before + trainer.current_epoch] = float(value)

    @staticmethod
    def _module(plan: LightningModule) -> nn.Module:
        module = plan.module
        assert isinstance(module, nn.Module)
        return module


def copy_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's state."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@contextmanager
def as_before_on_failure(model: BaseModelClass) -> Iterator[None]:
    """Inside the block a model is trained; if that fails or is interrupted, it is as it was before.

    Either way the module is in evaluation mode afterwards, and all of it may learn again.
    """
    weights, trained, history = copy_of(model.module), model.is_trained_, model.history_
    try:
        yield
    except BaseException:
        model.module.load_state_dict(weights)
        model.is_trained_, model.history_ = trained, history
        raise
    finally:
        model.module.requires_grad_(requires_grad=True).eval()


def check_training(
    *, max_epochs: int | None, batch_size: int, max_genes: int, lr: float, mask_fraction: float, replaced: float
) -> None:
    """Raise :class:`ArgumentError` on settings that no training can have."""
    whole = {"batch_size": batch_size, "max_genes": max_genes} | (
        {} if max_epochs is None else {"max_epochs": max_epochs}
    )
    for name, number in whole.items():
        if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < 1:
            msg = f"{name} is a whole number of at least 1, not {number!r}."
            raise ArgumentError(msg)
    for name, share in {"mask_fraction": mask_fraction, "replace_probability": replaced}.items():
        if not 0 < share <= 1:
            msg = f"{name} is a share above 0 and up to 1, not {share!r}."
            raise ArgumentError(msg)
    if not lr > 0:
        msg = f"lr is positive, not {lr!r}."
        raise ArgumentError(msg)
