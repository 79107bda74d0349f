r"""The last blocks of an encoder, trained by the link loss through the pooled gene embedding (Kommu et al. 2024, §5).

With θ the weights of the last blocks and of the final norm, a set B of cells gives

.. math::

    Z_t(θ) = Z_t + \frac{\sum_{n ∈ B} a_{t,n} \left(h_{t,n}(θ) - h_{t,n}(θ_0)\right)}{\sum_{n ∈ B} a_{t,n}},

where :math:`Z_t` is the embedding pooled over all cells by the encoder as it was given (:math:`θ_0`, eq. 6). Over all
cells this is eq. 6 of the encoder with weights θ. Over a part of them it differs from that by the sampling error of the
*change* alone, not of the embedding: before the first step it is :math:`Z_t` itself, whatever the cells. The attention
sums :math:`a_{t,n}` are constants, those of the encoder as it was given: no gradient flows through them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from scgrn_tl.core.errors import ArgumentError

from .favor import blocks
from .threads import threads_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scgrn_tl.core.encoder_cells import EncoderCells

    from .scbert import ScBERT

__all__ = ["FrozenCells", "JointEncoder"]

STEP_BYTES = 2**26
"""Activations of the trained blocks that are computed at a time: about what a CPU's caches hold."""
KEPT_BYTES = 2**30
"""Activations kept for the backward pass; where a step has more of them, they are computed a second time in it."""


@dataclass(frozen=True, eq=False)
class FrozenCells:
    """A sample of cells up to the blocks that are trained. Nothing here changes; all members of an ensemble share it.

    P of the sequence's T genes are in the task and have an embedding.

    Attributes
    ----------
    encoder
        As it was given.
    n_blocks
        How many of its last blocks are trained.
    before
        ``(n, T + 1, D)``, what enters the first of them, the end of the sequence last.
    start
        ``(n, P, D)``, hidden states of the encoder as it was given.
    weights
        ``(n, P)``, what every cell weighs in pooling.
    embedding
        ``(P, D)``, the embedding pooled over all cells.
    columns
        ``int64 (P,)``, columns of the sequence.
    genes
        ``int64 (P,)``, genes of the task.
    n_genes
        G.
    """

    encoder: ScBERT
    n_blocks: int
    before: Tensor
    start: Tensor
    weights: Tensor
    embedding: Tensor
    columns: Tensor
    genes: Tensor
    n_genes: int

    @classmethod
    @torch.no_grad()
    def prepare(
        cls, cells: EncoderCells, embedding: np.ndarray, *, n_blocks: int, device: str | torch.device = "cpu"
    ) -> FrozenCells:
        """Run a sample of cells through the encoder.

        Parameters
        ----------
        cells
            The sample and the encoder. The encoder's type of number is that of everything computed.
        embedding
            ``(G, D)``, pooled over all cells; NaN where a gene has none.
        n_blocks
            Blocks to be trained.
        device
            Where to.

        Raises
        ------
        ArgumentError
            If the encoder has fewer blocks, or another width than the embedding.
        """
        encoder: ScBERT = cells.encoder
        depth, dim = encoder.config.depth, encoder.config.dim
        if not 1 <= n_blocks <= depth:
            msg = f"joint_blocks={n_blocks}: the encoder has {depth} blocks, so it is a whole number from 1 to {depth}."
            raise ArgumentError(msg, page="joint-training")
        if embedding.shape[1] != dim:
            msg = (
                f"The gene embedding is {embedding.shape[1]} wide, its encoder {dim}: they do not belong together. "
                "Run `sg.tl.scbert_embed` again and name its embedding by use_rep."
            )
            raise ArgumentError(msg, page="joint-training")
        encoder = copy.deepcopy(encoder).to(device).eval()
        weight = encoder.norm.weight
        known = np.isfinite(embedding).all(axis=1)
        columns = np.flatnonzero((cells.genes >= 0) & known[cells.genes])
        if not len(columns):
            msg = (
                "None of the encoder's genes has a finite gene embedding: there is nothing to train together. "
                "Run `sg.tl.scbert_embed` on these genes, or leave joint=False."
            )
            raise ArgumentError(msg, page="joint-training")
        genes = cells.genes[columns]
        n_cells, n_columns = cells.tokens.shape
        before = weight.new_empty(n_cells, n_columns + 1, dim)
        start = weight.new_empty(n_cells, len(columns), dim)
        positions, kept = torch.from_numpy(cells.positions).to(device), torch.from_numpy(columns).to(device)
        layers = encoder.performer.net.layers
        frozen, trained = layers[: depth - n_blocks], layers[depth - n_blocks :]
        with threads_for(before.numel()):
            for rows in blocks(n_cells, max(1, STEP_BYTES // _activation_bytes(encoder, n_columns, 1))):
                tokens = torch.from_numpy(cells.tokens[rows].astype(np.int64)).to(device)
                before[rows] = _through(frozen, encoder.embed(tokens, positions))
                start[rows] = encoder.norm(_through(trained, before[rows]))[:, kept]
        return cls(
            encoder,
            n_blocks,
            before,
            start,
            torch.from_numpy(cells.weights[:, columns]).to(weight),
            torch.from_numpy(embedding[genes]).to(weight),
            kept,
            torch.from_numpy(genes).to(device),
            len(embedding),
        )

    def __len__(self) -> int:
        return len(self.before)


class JointEncoder(nn.Module):
    """The last blocks and the final norm of an encoder, to be trained; starts from the encoder as it was given.

    Parameters
    ----------
    cells
        What comes before them.
    """

    def __init__(self, cells: FrozenCells) -> None:
        super().__init__()
        self.cells = cells
        layers = cells.encoder.performer.net.layers
        self.blocks = copy.deepcopy(layers[len(layers) - cells.n_blocks :])
        self.norm = copy.deepcopy(cells.encoder.norm)
        self.requires_grad_(requires_grad=True)
        self._draws = torch.Generator()
        self._cell_bytes = _activation_bytes(cells.encoder, cells.before.shape[1], cells.n_blocks)

    def seed_draws(self, seed: int) -> None:
        """Begin the draws of cells anew from ``seed``."""
        self._draws.manual_seed(seed)

    @property
    def n_values(self) -> int:
        """Values of the largest activation of one step: of the feed-forward layer."""
        at_a_time = min(max(1, STEP_BYTES // self._cell_bytes), len(self.cells))
        return at_a_time * self.cells.before.shape[1] * self.cells.before.shape[2] * self.cells.encoder.config.ff_mult

    def forward(self, cells: Tensor) -> Tensor:
        """Gene embedding ``(G, D)`` as the link model reads it, pooled over ``cells``, ``int64 (k,)``.

        Every dimension has mean 0 and variance 1 over the genes that have a vector. Others have zeros; where there are
        any, one more column tells which have one.
        """
        pooled = self.pooled(cells)  # (P, D)
        std = pooled.var(dim=0, correction=0).clamp(min=1e-30).sqrt()
        standard = (pooled - pooled.mean(dim=0)) / torch.where(std > 1e-8, std, 1.0)
        n_genes, genes = self.cells.n_genes, self.cells.genes
        if len(genes) < n_genes:
            standard = nn.functional.pad(standard, (0, 1), value=1.0)
        return standard.new_zeros(n_genes, standard.shape[1]).index_copy(0, genes, standard)

    def pooled(self, cells: Tensor) -> Tensor:
        """Z(θ) ``(P, D)`` of some of the sampled cells, ``int64 (k,)``."""
        recompute = torch.is_grad_enabled() and len(cells) * self._cell_bytes > KEPT_BYTES
        change = torch.zeros_like(self.cells.embedding)
        for part in blocks(len(cells), max(1, STEP_BYTES // self._cell_bytes)):
            rows = cells[part]
            if recompute:
                change = change + checkpoint(self._weighted_change, rows, use_reentrant=False, preserve_rng_state=False)
            else:
                change = change + self._weighted_change(rows)
        return self.cells.embedding + change / self.cells.weights[cells].sum(dim=0).unsqueeze(1)

    def _weighted_change(self, rows: Tensor) -> Tensor:
        frozen = self.cells
        hidden = self.norm(_through(self.blocks, frozen.before[rows]))[:, frozen.columns]  # (k, P, D)
        return torch.einsum("kp,kpd->pd", frozen.weights[rows], hidden - frozen.start[rows])

    def of_drawn_cells(self, n_cells: int) -> Tensor:
        """:meth:`forward` of a new random draw of the sampled cells."""
        drawn = torch.randperm(len(self.cells), generator=self._draws)[:n_cells].sort().values
        return self(drawn.to(self.cells.columns.device))

    def of_fixed_cells(self, n_cells: int | None = None) -> Tensor:
        """:meth:`forward` of some of the sampled cells, always the same ones, or of all."""
        n_sampled = len(self.cells)
        n_cells = n_sampled if n_cells is None else min(n_cells, n_sampled)
        cells = torch.arange(n_cells, device=self.cells.columns.device) * n_sampled // n_cells
        return self(cells)

    def trained_encoder(self) -> ScBERT:
        """The whole encoder with the blocks and the norm as they are now; a copy."""
        encoder = copy.deepcopy(self.cells.encoder)
        layers = encoder.performer.net.layers
        layers[len(layers) - self.cells.n_blocks :].load_state_dict(self.blocks.state_dict())
        encoder.norm.load_state_dict(self.norm.state_dict())
        return encoder


def _through(layers: Iterable[Any], x: Tensor) -> Tensor:
    """``x`` ``(B, T, D)`` through Performer layers."""
    for attend, feed_forward in layers:
        x = x + attend(x)
        x = x + feed_forward(x)
    return x


def _activation_bytes(encoder: ScBERT, n_positions: int, n_blocks: int) -> int:
    """Rough memory of one cell's activations in so many blocks, as the backward pass needs them."""
    config, weight = encoder.config, encoder.norm.weight
    first = encoder.performer.net.layers[0][0].fn.fast_attention
    of_features = 4 * config.heads * len(first.projection_matrix)
    of_vectors = 4 * config.heads * config.dim_head + (6 + 3 * config.ff_mult) * config.dim
    return n_blocks * n_positions * (of_features + of_vectors) * weight.element_size()
