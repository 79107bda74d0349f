"""scBERT as a module of scvi-tools: masked cells in, the loss of the hidden bins out."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from scvi import REGISTRY_KEYS
from scvi.module.base import BaseModuleClass, LossOutput, auto_move_data
from torch import nn

from scgrn_tl.core.errors import ArgumentError

from .masked_expression import EXPRESSED_BINS
from .scbert import ScBERT

if TYPE_CHECKING:
    from torch import Tensor

    from .scbert import ScBERTConfig

__all__ = ["ScBERTModule"]


class ScBERTModule(BaseModuleClass):
    """An encoder, and a vector of each batch that training adds to its input.

    The batch vectors start at zero. At encoding, the mean over the batches that were trained on stands in for a cell's
    own, so that no batch is told from another by it.

    Parameters
    ----------
    config
        Shape of the encoder.
    n_batch
        Batches; with one there are no batch vectors.
    """

    def __init__(self, config: ScBERTConfig, n_batch: int = 1) -> None:
        super().__init__()
        self.encoder = ScBERT(config)
        vectors = torch.zeros(n_batch, config.dim)
        self.batch_emb = nn.Embedding.from_pretrained(vectors, freeze=False) if n_batch > 1 else None
        self.trained_batches: Tensor
        self.register_buffer("trained_batches", torch.zeros(n_batch, dtype=torch.bool))

    def _get_inference_input(self, tensors: dict[str, Tensor], **_: object) -> dict[str, Tensor]:
        return {
            "tokens": tensors["tokens"],
            "positions": tensors["positions"],
            "batch_index": tensors[REGISTRY_KEYS.BATCH_KEY],
        }

    @auto_move_data
    def inference(self, tokens: Tensor, positions: Tensor, batch_index: Tensor) -> dict[str, Tensor]:
        """Hidden states ``(B, t, D)`` of tokens ``(B, t)`` in the cells' own batches ``(B, 1)``."""
        added = None if self.batch_emb is None else self.batch_emb(batch_index.view(-1))
        return {"hidden": self.encoder.hidden(tokens, positions, added=added)}

    def _get_generative_input(
        self, tensors: dict[str, Tensor], inference_outputs: dict[str, Tensor], **_: object
    ) -> dict[str, Tensor]:
        return {"hidden": inference_outputs["hidden"]}

    @auto_move_data
    def generative(self, hidden: Tensor) -> dict[str, Tensor]:
        """Logits ``(B, t, 7)`` of every bin."""
        return {"logits": self.encoder.to_out(hidden)}

    def loss(
        self, tensors: dict[str, Tensor], inference_outputs: dict[str, Tensor], generative_outputs: dict[str, Tensor]
    ) -> LossOutput:
        """Mean cross-entropy over the P hidden positions; of a batch without any, zero.

        ``extra_metrics`` has the number of hidden positions, and how many of them the model gets right, and how many
        the gene's usual bin.
        """
        logits = generative_outputs["logits"]
        true = tensors["bins"].to(logits.device)  # (B, t)
        hidden = true > 0
        chosen, bins = logits[hidden].float(), true[hidden]  # (P, 7), (P,)
        total = nn.functional.cross_entropy(chosen, bins, reduction="sum")
        usual = tensors["usual"].to(logits.device).expand_as(true)[hidden]  # (P,)
        predicted = chosen.detach()[:, EXPRESSED_BINS].argmax(dim=1) + EXPRESSED_BINS.start
        return LossOutput(
            loss=total / max(len(bins), 1),
            n_obs_minibatch=len(true),
            extra_metrics={
                "n_hidden": torch.tensor(float(len(bins))),
                "n_right": (predicted == bins).sum(),
                "n_usual": (usual == bins).sum(),
            },
        )

    @torch.no_grad()
    def averaged_encoder(self) -> ScBERT:
        """A copy of the encoder with the batches' mean vector folded into it, in evaluation mode."""
        encoder = copy.deepcopy(self.encoder)
        if self.batch_emb is not None and self.trained_batches.any():
            encoder.fold_in(self.batch_emb.weight[self.trained_batches].mean(dim=0))
        for parameter in encoder.parameters():
            parameter.requires_grad = True
        return encoder.eval()

    def note_batches(self, codes: np.ndarray) -> None:
        """Mark the batches ``codes`` as trained on."""
        self.trained_batches[torch.from_numpy(np.unique(codes).astype(np.int64))] = True

    def train_only(self, last_blocks: int | None) -> None:
        """Let only the last blocks and the final norm of the encoder learn, beside the prediction head and the batches.

        Parameters
        ----------
        last_blocks
            How many; ``None`` for the whole encoder, gene vectors included.

        Raises
        ------
        ArgumentError
            If the encoder has fewer blocks.
        """
        depth = self.encoder.config.depth
        if last_blocks is not None and not 0 <= last_blocks <= depth:
            msg = f"The encoder has {depth} blocks: train_blocks is None (all of it) or 0…{depth}, not {last_blocks}."
            raise ArgumentError(msg)
        for parameter in self.parameters():
            parameter.requires_grad = last_blocks is None
        if last_blocks is None:
            return
        learning = [self.encoder.norm, self.encoder.to_out]
        learning += list(self.encoder.performer.net.layers[depth - last_blocks :])
        learning += [] if self.batch_emb is None else [self.batch_emb]
        for part in learning:
            for parameter in part.parameters():
                parameter.requires_grad = True
