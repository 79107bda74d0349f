"""GENELink: graph attention over the training edges, and a tower each for regulators and targets (Chen & Liu 2022)."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch_geometric.nn import GATConv

from scgrn_tl.core.errors import ArgumentError

__all__ = ["AttentionLayer", "GENELinkDecoder", "GENELinkModule", "symmetric_edges"]

GENELinkDecoder = Literal["dot", "cosine", "mlp"]

_GAIN = 1.414
_SLOPE = 0.2
_EVEN_VALUES = 2**24
"""Attention weights of genes without neighbours that are held at a time: 64 MiB."""


def symmetric_edges(edge_index: Tensor) -> Tensor:
    """Edges ``int64 (2, E)`` in both directions, each once, without self loops."""
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    return torch.unique(both[:, both[0] != both[1]], dim=1)


class AttentionLayer(nn.Module):
    """GENELink's graph attention: per head, with H = X W,

    ``e_ij = LeakyReLU(H_i·a₁ + H_j·a₂)``, ``α_i = softmax over the neighbours j of i``, dropout on α,
    ``O_i = L2-normalised LeakyReLU(Σ_j α_ij H_j) + b``.

    A gene without neighbours attends to all genes alike: the softmax of a dense row of equal logits.

    Parameters
    ----------
    in_width, out_width
        Width before, and per head after.
    heads
        Number of heads.
    dropout
        Share of the attention dropped in training.
    """

    def __init__(self, in_width: int, out_width: int, *, heads: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        self.heads, self.width, self.dropout = heads, out_width, dropout
        self.attention = GATConv(
            in_width,
            out_width,
            heads,
            negative_slope=_SLOPE,
            dropout=dropout,
            add_self_loops=False,
            bias=False,
        )
        self.bias = nn.Parameter(torch.zeros(heads, out_width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform with gain 1.414, each head's map and attention vector on its own."""
        with torch.no_grad():
            for head in self.attention.lin.weight.view(self.heads, self.width, -1):
                nn.init.xavier_uniform_(head, gain=_GAIN)
            for head in range(self.heads):
                vector = nn.init.xavier_uniform_(torch.empty(2 * self.width, 1), gain=_GAIN).squeeze(1)  # [a₁; a₂]
                self.attention.att_dst[0, head] = vector[: self.width]
                self.attention.att_src[0, head] = vector[self.width :]
            self.bias.zero_()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Outputs ``(G, heads, out_width)`` of ``x (G, in_width)`` over symmetric edges ``(2, E')``."""
        gathered = self.attention(x, edge_index).view(-1, self.heads, self.width)  # (G, H, d)
        lonely = torch.ones(len(x), dtype=torch.bool, device=x.device)
        lonely[edge_index[1]] = False
        if lonely.any():
            states = self.attention.lin(x).view(-1, self.heads, self.width)  # (G, H, d)
            gathered = gathered.index_put((lonely,), self._even(states, int(lonely.sum())))
        normalised: Tensor = nn.functional.normalize(nn.functional.leaky_relu(gathered, _SLOPE), dim=-1, eps=1e-12)
        return normalised + self.bias

    def _even(self, states: Tensor, n_lonely: int) -> Tensor:
        """What ``n_lonely`` genes gather that attend to all of ``states (G, H, d)`` alike: ``(n_lonely, H, d)``."""
        if not self.training or not self.dropout:
            return states.mean(0).expand(n_lonely, -1, -1)

        def gather(n_rows: int) -> Tensor:
            even = states.new_full((self.heads, n_rows, len(states)), 1 / len(states))
            return (nn.functional.dropout(even, self.dropout) @ states.transpose(0, 1)).transpose(0, 1)

        step = max(1, _EVEN_VALUES // (self.heads * len(states)))
        if n_lonely <= step:
            return gather(n_lonely)
        # What is dropped is drawn again for the gradients, not kept: it would be of all genes by all genes.
        rows = [min(step, n_lonely - start) for start in range(0, n_lonely, step)]
        return torch.cat([checkpoint(gather, n_rows, use_reentrant=False) for n_rows in rows])


class GENELinkModule(nn.Module):
    """Two attention layers (3 heads of 128 joined, ELU; 3 heads of 64 averaged), two towers (64 → 32 → 16), a decoder.

    The logit of (a, b) is ``t_a · g_b`` (``"dot"``), their cosine (``"cosine"``), or a linear map of both (``"mlp"``),
    where t is the regulator tower's output and g the target tower's.

    Parameters
    ----------
    n_features
        Width of the node features.
    decoder
        How the towers meet.
    dropout, tower_dropout
        Share dropped of the attention, and between the towers' layers, in training.
    """

    def __init__(
        self,
        n_features: int,
        *,
        decoder: GENELinkDecoder = "dot",
        dropout: float = 0.5,
        tower_dropout: float = 0.01,
    ) -> None:
        super().__init__()
        if decoder not in get_args(GENELinkDecoder):
            msg = f"decoder is one of {', '.join(map(repr, get_args(GENELinkDecoder)))}, not {decoder!r}."
            raise ArgumentError(msg)
        self.decoder = decoder
        self.first = AttentionLayer(n_features, 128, heads=3, dropout=dropout)
        self.second = AttentionLayer(3 * 128, 64, heads=3, dropout=dropout)
        self.towers = nn.ModuleList(self._tower(tower_dropout) for _ in range(2))
        self.joined = nn.Linear(32, 1) if decoder == "mlp" else None

    @staticmethod
    def _tower(dropout: float) -> nn.Sequential:
        first, second = nn.Linear(64, 32), nn.Linear(32, 16)
        for layer in (first, second):
            nn.init.xavier_uniform_(layer.weight, gain=_GAIN)
        return nn.Sequential(first, nn.LeakyReLU(), nn.Dropout(dropout), second, nn.LeakyReLU())

    def embed(self, x: Tensor, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Every gene as a regulator and as a target, ``(G, 16)`` each."""
        hidden = nn.functional.elu(self.first(x, edge_index).flatten(1))  # (G, 384)
        z = self.second(hidden, edge_index).mean(1)  # (G, 64)
        return self.towers[0](z), self.towers[1](z)

    def decode(self, as_regulator: Tensor, as_target: Tensor, pairs: Tensor) -> Tensor:
        """Logits ``(B,)`` of pairs ``int64 (B, 2)``."""
        t, g = as_regulator.index_select(0, pairs[:, 0]), as_target.index_select(0, pairs[:, 1])  # (B, 16)
        if self.joined is not None:
            logits: Tensor = self.joined(torch.cat([t, g], dim=1)).squeeze(1)
            return logits
        return nn.functional.cosine_similarity(t, g) if self.decoder == "cosine" else (t * g).sum(1)

    def forward(self, x: Tensor, edge_index: Tensor, pairs: Tensor) -> Tensor:
        """Logits ``(B,)`` of pairs, of node features ``(G, F)`` and symmetric edges ``(2, E')``."""
        return self.decode(*self.embed(x, edge_index), pairs)
