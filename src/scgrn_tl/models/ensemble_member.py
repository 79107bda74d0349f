"""One fitted network of an ensemble, and what of it goes into a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .threads import threads_for

if TYPE_CHECKING:
    from torch import Tensor

    from .link_training import LinkTrainer
    from .scbert import ScBERT
    from .sctransnet import GeneInputs, ScTransNetModule

__all__ = ["Member"]


@dataclass(frozen=True, eq=False)
class Member:
    """One fitted network of the ensemble.

    Attributes
    ----------
    module
        The network.
    inputs
        What it reads; the same object for all members, but for members that each trained an encoder.
    history, best_epoch
        See :class:`~scgrn_tl.models.link_training.LinkTrainer`.
    encoder
        The encoder that was trained along.
    """

    module: ScTransNetModule
    inputs: GeneInputs
    history: dict[str, list[float]]
    best_epoch: int
    encoder: ScBERT | None = None

    @classmethod
    @torch.no_grad()
    def of(cls, trainer: LinkTrainer) -> Member:
        """What a trainer that was run leaves."""
        if trainer.encoder is None:
            return cls(trainer.module, trainer.genes, trainer.history, trainer.best_epoch)
        with threads_for(trainer.n_values):
            inputs = trainer.genes.with_embedding(trainer.encoder.of_fixed_cells())
        return cls(trainer.module, inputs, trainer.history, trainer.best_epoch, trainer.encoder.trained_encoder())

    def tensors(self, number: int, shared: GeneInputs) -> dict[str, Tensor]:
        """Name → tensor of the network, and of its gene embedding where that is not the ``shared`` one."""
        tensors = {f"models.{number}.{name}": value for name, value in self.module.state_dict().items()}
        if self.inputs is not shared and self.inputs.embedding is not None:
            tensors[f"embeddings.{number}"] = self.inputs.embedding
        return tensors
