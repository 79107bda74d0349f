"""From gene vectors to a score for every regulator→target pair (model.md §6; scTransNet §3.4)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["Decoder", "LinkLogits", "LinkScorer"]

Decoder = Literal["dot", "cosine", "mlp"]

_BLOCK_VALUES = 2**24
"""Hidden values that the ``mlp`` decoder holds at a time."""


class LinkLogits(NamedTuple):
    """Two addends of the log-odds of an edge, each ``(R, G)``."""

    score: Tensor
    """What this pair has beyond its two genes' main effects."""
    hub: Tensor
    """Main effects of the regulator and of the target, read from the channels."""


class LinkScorer(nn.Module):
    """Two channels of the same shape, one for genes as regulators, one for genes as targets, and a decoder.

    ``score = s · c^TF · c^tgt`` with a learned scale s. Both channels are centred over their genes, so that the scores
    of every regulator and of every target average to zero: main effects have nowhere to go but the hub terms
    ``w^TF·c^TF + w^tgt·c^tgt``, and a score says what is specific to the pair.

    Parameters
    ----------
    width
        Width of the gene vectors x.
    hidden, out
        Widths of each channel's two layers.
    decoder
        ``"dot"`` (the paper's), ``"cosine"`` or ``"mlp"`` (a hidden layer over both channels).
    dropout
        Share of entries dropped before and inside the channels in training.
    centre
        Centre the channels and read hub terms from them. ``False`` is the paper's: the bare product.
    """

    def __init__(
        self,
        width: int,
        *,
        hidden: int = 128,
        out: int = 64,
        decoder: Decoder = "dot",
        dropout: float = 0.0,
        centre: bool = True,
    ) -> None:
        super().__init__()
        self.decoder, self.centre = decoder, centre
        self.tf_channel = self._channel(width, hidden, out, dropout)
        self.target_channel = self._channel(width, hidden, out, dropout)
        self.log_scale = nn.Parameter(torch.tensor(-2.3 if centre else 0.0))  # s starts at 0.1: hub rates come first
        self.tf_hub = nn.Linear(out, 1, bias=False)
        self.target_hub = nn.Linear(out, 1, bias=False)
        nn.init.zeros_(self.tf_hub.weight)
        nn.init.zeros_(self.target_hub.weight)
        if decoder == "mlp":
            self.tf_hidden = nn.Linear(out, out)
            self.target_hidden = nn.Linear(out, out, bias=False)
            self.readout = nn.Linear(out, 1, bias=False)

    @staticmethod
    def _channel(width: int, hidden: int, out: int, dropout: float) -> nn.Sequential:
        return nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width, hidden), nn.LeakyReLU(), nn.Dropout(dropout), nn.Linear(hidden, out)
        )

    def forward(self, x: Tensor, regulators: Tensor) -> LinkLogits:
        """Logits of every pair of a regulator (``int64[R]``, gene indices) and a gene of ``x (G, width)``."""
        tf = self.tf_channel(x[regulators])  # (R, out)
        target = self.target_channel(x)  # (G, out)
        if self.centre:
            tf, target = tf - tf.mean(0), target - target.mean(0)
        score = self.log_scale.exp() * self._decode(tf, target)
        if self.centre and self.decoder != "dot":  # a product of centred factors is centred already
            score = score - score.mean(0, keepdim=True) - score.mean(1, keepdim=True) + score.mean()
        hub = self.tf_hub(tf) + self.target_hub(target).T if self.centre else torch.zeros_like(score)
        return LinkLogits(score, hub)

    def _decode(self, tf: Tensor, target: Tensor) -> Tensor:
        if self.decoder == "mlp":
            left, right = self.tf_hidden(tf), self.target_hidden(target)
            rows = max(1, _BLOCK_VALUES // right.numel())
            blocks = [checkpoint(self._pair_mlp, block, right, use_reentrant=False) for block in left.split(rows)]
            return torch.cat(blocks)
        if self.decoder == "cosine":
            tf, target = nn.functional.normalize(tf, dim=1), nn.functional.normalize(target, dim=1)
        return tf @ target.T

    def _pair_mlp(self, left: Tensor, right: Tensor) -> Tensor:
        values: Tensor = self.readout(torch.relu(left.unsqueeze(1) + right.unsqueeze(0))).squeeze(-1)  # (rows, G)
        return values
