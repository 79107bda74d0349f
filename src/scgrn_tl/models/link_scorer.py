"""From gene vectors to a score for every regulator→target pair (model.md §6; scTransNet §3.4)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .seeding import Dropout

__all__ = ["Decoder", "LinkChannels", "LinkLogits", "LinkScorer"]

Decoder = Literal["dot", "cosine", "mlp"]

_BLOCK_VALUES = 2**24
"""Hidden values that the ``mlp`` decoder holds at a time."""


class LinkLogits(NamedTuple):
    """Two addends of the log-odds of an edge, each ``(R, G)``."""

    score: Tensor
    """What this pair has beyond its two genes' main effects."""
    hub: Tensor
    """Main effects of the regulator and of the target, read from the channels."""


class LinkChannels(NamedTuple):
    """Both channels of all genes: whatever is read of a pair is read from these."""

    left: Tensor
    """``(R, out)``, of the regulators."""
    right: Tensor
    """``(G, out)``, of the targets."""
    tf_hub: Tensor | None
    """``(R, 1)``, main effect of each regulator; ``None`` without."""
    target_hub: Tensor | None
    """``(G, 1)``, main effect of each target; ``None`` without."""
    means: tuple[Tensor, Tensor, Tensor] | None
    """``(R,)``, ``(G,)`` and over all pairs, what the ``mlp`` decoder's scores average to; ``None`` of decoders centred
    by nature."""


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
            Dropout(dropout), nn.Linear(width, hidden), nn.LeakyReLU(), Dropout(dropout), nn.Linear(hidden, out)
        )

    def forward(self, x: Tensor, regulators: Tensor) -> LinkLogits:
        """Logits of every pair of a regulator (``int64[R]``, gene indices) and a gene of ``x (G, width)``."""
        return self.logits(self.channels(x, regulators), slice(0, len(regulators)))

    def channels(self, x: Tensor, regulators: Tensor, *, around: tuple[Tensor, Tensor] | None = None) -> LinkChannels:
        """What :meth:`logits` scores pairs from.

        Parameters
        ----------
        x, regulators
            As :meth:`forward` takes them.
        around
            The same of the genes by whose averages is centred, where those are others.
        """
        tf, target = self.tf_channel(x[regulators]), self.target_channel(x)  # (R, out), (G, out)
        tf_0, target_0 = tf, target
        if around is not None:
            x_0, regulators_0 = around
            tf_0, target_0 = self.tf_channel(x_0[regulators_0]), self.target_channel(x_0)
        if self.centre:
            tf_mean, target_mean = tf_0.mean(0), target_0.mean(0)
            tf, target = tf - tf_mean, target - target_mean
            tf_0, target_0 = tf_0 - tf_mean, target_0 - target_mean
        left, right = self._meet(tf, target)
        left_0, right_0 = (left, right) if around is None else self._meet(tf_0, target_0)
        means = None
        if self.centre and self.decoder == "cosine":  # a product of centred factors is centred
            left, right = left - left_0.mean(0), right - right_0.mean(0)
        elif self.centre and self.decoder == "mlp":
            of_tf, of_target = self._pair_means(left, right_0)
            overall = of_target
            if around is not None:
                of_target, overall = (self._pair_means(left_0, genes)[1] for genes in (right, right_0))
            means = of_tf, of_target, overall.mean()
        tf_hub, target_hub = (self.tf_hub(tf), self.target_hub(target)) if self.centre else (None, None)
        return LinkChannels(left, right, tf_hub, target_hub, means)

    def _meet(self, tf: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Both channels as the decoder lets them meet."""
        if self.decoder == "mlp":
            return self.tf_hidden(tf), self.target_hidden(target)
        if self.decoder == "cosine":
            return nn.functional.normalize(tf, dim=1), nn.functional.normalize(target, dim=1)
        return tf, target

    def logits(self, channels: LinkChannels, rows: slice) -> LinkLogits:
        """Logits of the pairs of some of the regulators, by place among them, and every gene."""
        left, right, tf_hub, target_hub, means = channels
        score = self._pair_scores(left[rows], right) if self.decoder == "mlp" else left[rows] @ right.T
        if means is not None:
            of_tf, of_target, overall = means
            score = score - of_target - of_tf[rows].unsqueeze(1) + overall
        score = self.log_scale.exp() * score
        if tf_hub is None or target_hub is None:
            return LinkLogits(score, torch.zeros_like(score))
        return LinkLogits(score, tf_hub[rows] + target_hub.T)

    def _pair_means(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of the ``mlp`` decoder's scores over each regulator's pairs ``(R,)`` and each gene's ``(G,)``."""
        of_tf, of_target = [], torch.zeros(())
        for block in left.split(_rows_at_once(right)):
            sums = checkpoint(self._pair_sums, block, right, use_reentrant=False)
            of_tf.append(sums[0])
            of_target = of_target.to(sums[1]) + sums[1]
        return torch.cat(of_tf) / len(right), of_target / len(left)

    def _pair_sums(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        scores = self._pair_mlp(left, right)
        return scores.sum(1), scores.sum(0)

    def _pair_scores(self, left: Tensor, right: Tensor) -> Tensor:
        blocks = [
            checkpoint(self._pair_mlp, block, right, use_reentrant=False) for block in left.split(_rows_at_once(right))
        ]
        return torch.cat(blocks)

    def _pair_mlp(self, left: Tensor, right: Tensor) -> Tensor:
        values: Tensor = self.readout(torch.relu(left.unsqueeze(1) + right.unsqueeze(0))).squeeze(-1)  # (rows, G)
        return values


def _rows_at_once(right: Tensor) -> int:
    return max(1, _BLOCK_VALUES // right.numel())
