r"""FAVOR+ attention with one stabiliser per cell, and its exact column sums in linear memory (model.md §2–3).

Choromanski et al. 2021 write softmax attention as :math:`A \approx D^{-1} Q' K'^\top` with positive random features

.. math:: φ(x) = m^{-1/2} \left(\exp(ω x d^{-1/4} - ‖x‖² d^{-1/2} / 2 - s) + ε\right), \qquad ε = 10^{-4}.

The factor :math:`m^{-1/2}` cancels in the quotient and is left out below. Shapes: B cells, H heads, T genes, d head
width, m random features.
"""

from __future__ import annotations

import math
import warnings
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

import torch

with warnings.catch_warnings():  # performer-pytorch reads torch's version with distutils, which is deprecated
    warnings.simplefilter("ignore")
    from performer_pytorch import FastAttention, Performer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

__all__ = ["FavorAttention", "FavorStream", "blocks", "favor_performer", "genes_in_cache"]

Result = TypeVar("Result")

EPSILON = 1e-4
BLOCK_VALUES = 350_000
"""Values of feature maps computed at a time where no size is given: on a CPU they should stay in its cache (1.4 MB)."""


def genes_in_cache(n_heads: int, n_features: int) -> int:
    """As many genes as have :data:`BLOCK_VALUES` values of feature maps: a multiple of 64, which products like best."""
    return max(64, BLOCK_VALUES // (n_heads * n_features) // 64 * 64)


def blocks(n_genes: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` genes that cover ``n_genes``."""
    for start in range(0, n_genes, size):
        yield slice(start, min(start + size, n_genes))


def _half_squared_norm(x: Tensor) -> Tensor:
    """``‖x‖² d^{-1/2} / 2`` of every row of ``(..., d)``, as ``(..., 1)``."""
    return x.square().sum(dim=-1, keepdim=True) * (0.5 * x.shape[-1] ** -0.5)


def _in_full_precision(method: Callable[..., Result]) -> Callable[..., Result]:
    """Let a method compute in the type of its projection, whatever autocast is on.

    Exponents of a few tens, rounded to the 8 bits of bfloat16, would be off by some 10 %.
    """

    @wraps(method)
    def in_full_precision(self: FavorStream | FavorAttention, *inputs: Tensor) -> Result:
        device_type = inputs[0].device.type
        if not torch.is_autocast_enabled(device_type):
            return method(self, *inputs)
        with torch.autocast(device_type, enabled=False):
            return method(self, *(x.to(self.projection_matrix.dtype) for x in inputs))

    return in_full_precision


class FavorStream:
    r"""One attention layer over some cells, fed block of genes by block of genes. For inference.

    Call :meth:`add_keys` for every block, then :meth:`attend` for every block, then, if wanted,
    :meth:`attention_sums` once. In between it holds sums of shape ``(B, H, m, d)``, and the keys' feature maps as far
    as there is room for them.

    The keys' stabiliser s, one maximum per cell, is known only after the last block. Until then a running maximum
    stands for it, and what has been summed is rescaled when it grows. The terms in ε do not carry s and add up apart:

    .. math:: \sum_j φ(k_j) v_j^\top = \sum_j e^{… - s} v_j^\top + ε \mathbf{1} \sum_j v_j^\top.

    Feature maps are laid out ``(B, H, m, g)``, genes last: matrix products are faster so than with rows of m = 266.

    Parameters
    ----------
    projection
        ω, ``(m, d)``.
    block_size
        Genes whose feature maps are computed at a time, however many a call hands over.
    room
        One-dimensional tensor of any values, to be overwritten: the keys' feature maps are kept there as far as it
        goes, so that :meth:`attention_sums` need not compute them again. ``None`` keeps none.
    """

    def __init__(self, projection: Tensor, *, block_size: int = 128, room: Tensor | None = None) -> None:
        self.projection_matrix = projection
        self._projection = projection * projection.shape[1] ** -0.25
        self._block_size = block_size
        self._room = room
        self._kept: list[tuple[Tensor, Tensor]] = []  # features (B, H, m, g), and the stabiliser they were made with
        self._n_kept = 0
        self._n_keys = 0
        self._stabilizer: Tensor  # (B, 1, 1, 1)
        self._exponential_context: Tensor  # (B, H, m, d), Σ_j e^{…} v_j
        self._exponential_sum: Tensor  # (B, H, m, 1), Σ_j e^{…}
        self._value_sum: Tensor  # (B, H, 1, d), Σ_j v_j
        self._readout: Tensor | None = None  # (B, H, d + 1, m), Σ_j [v_j ‖ 1] φ(k_j)
        self._epsilon_readout: Tensor  # (B, H, d + 1, 1), what ε adds to every read
        self._n_queries = 0
        self._exponential_reads: Tensor  # (B, H, 1, m), Σ_i e^{…} / (φ(q_i)·Σ_j φ(k_j))
        self._reciprocals: Tensor  # (B, H, 1, 1), Σ_i 1 / (φ(q_i)·Σ_j φ(k_j))

    @_in_full_precision
    def add_keys(self, k: Tensor, v: Tensor) -> None:
        """Take in a block of keys and values, ``(B, H, g, d)`` each."""
        half_squared_norm = _half_squared_norm(k).mT  # (B, H, 1, g)
        for genes in blocks(k.shape[-2], self._block_size):
            self._add_block(k[..., genes, :], v[..., genes, :], half_squared_norm[..., genes])

    def _add_block(self, k: Tensor, v: Tensor, half_squared_norm: Tensor) -> None:
        n_genes = k.shape[-2]
        room = self._take_room((*k.shape[:2], len(self._projection), n_genes))
        features = self._project(k, room)  # (B, H, m, g)
        stabilizer = features.amax(dim=(1, 2, 3), keepdim=True)
        if self._n_keys:
            stabilizer = torch.maximum(stabilizer, self._stabilizer)
        features.sub_(half_squared_norm + stabilizer).exp_()
        if room is not None:
            self._kept.append((features, stabilizer))
            self._n_kept += n_genes
        context, total, value_sum = features @ v, features.sum(dim=-1, keepdim=True), v.sum(dim=-2, keepdim=True)
        if self._n_keys:
            shrink = torch.exp(self._stabilizer - stabilizer)
            context += self._exponential_context * shrink
            total += self._exponential_sum * shrink
            value_sum += self._value_sum
        self._exponential_context, self._exponential_sum, self._value_sum = context, total, value_sum
        self._stabilizer = stabilizer
        self._n_keys += n_genes

    def _take_room(self, shape: tuple[int, ...]) -> Tensor | None:
        """A tensor of that shape in the room that is left; ``None``, from then on, where it does not fit."""
        size = math.prod(shape)
        if self._room is None or len(self._room) < size:
            self._room = None
            return None
        taken, self._room = self._room[:size].view(shape), self._room[size:]
        return taken

    def _project(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """``ω x d^{-1/4}`` ``(B, H, m, g)`` of ``(B, H, g, d)``."""
        return torch.matmul(self._projection, x.mT, out=out)

    @_in_full_precision
    def attend(self, q: Tensor) -> Tensor:
        """Attention output ``(B, H, g, d)`` of a block of queries ``(B, H, g, d)``."""
        if self._readout is None:
            context = self._exponential_context + EPSILON * self._value_sum
            total = self._exponential_sum + EPSILON * self._n_keys
            self._readout = torch.cat([context, total], dim=-1).mT.contiguous()
            self._epsilon_readout = EPSILON * self._readout.sum(dim=-1, keepdim=True)
        n_cells, n_heads, n_genes, width = q.shape
        half_squared_norm = _half_squared_norm(q).mT
        # (B, g, H, d) in memory, which is what the output's projection reads
        attended = q.new_empty(n_cells, n_genes, n_heads, width).permute(0, 2, 3, 1)  # (B, H, d, g)
        for genes in blocks(n_genes, self._block_size):
            features = self._project(q[..., genes, :])  # (B, H, m, g)
            features.sub_(features.amax(dim=-2, keepdim=True).add_(half_squared_norm[..., genes])).exp_()
            read = (self._readout @ features).add_(self._epsilon_readout)  # (B, H, d + 1, g)
            reciprocal = read[..., -1:, :].reciprocal()  # (B, H, 1, g)
            reads = reciprocal @ features.mT
            reciprocals = reciprocal.sum(dim=-1, keepdim=True)
            if self._n_queries:
                reads += self._exponential_reads
                reciprocals += self._reciprocals
            self._exponential_reads, self._reciprocals = reads, reciprocals
            self._n_queries += reciprocal.shape[-1]
            torch.mul(read[..., :-1, :], reciprocal, out=attended[..., genes])
        return attended.mT

    def attention_sums(self, keys: Callable[[slice], Tensor]) -> Tensor:
        r"""Column sums of the attention matrix, ``(B, H, T)``, over every query that was given to :meth:`attend`.

        :math:`a_j = φ(k_j) \cdot \sum_i φ(q_i) / (φ(q_i) \cdot \sum_l φ(k_l))`.

        Parameters
        ----------
        keys
            ``keys(genes)`` gives the keys ``(B, H, g, d)`` of a slice of the genes again. It is called for those whose
            feature maps were not kept.
        """
        reads = self._exponential_reads + EPSILON * self._reciprocals  # (B, H, 1, m)
        sums = [
            self._weigh(features, reads * torch.exp(made_with - self._stabilizer)) for features, made_with in self._kept
        ]
        for genes in blocks(self._n_keys - self._n_kept, self._block_size):
            k = keys(slice(self._n_kept + genes.start, self._n_kept + genes.stop))
            sums.append(self._weigh(self._features_again(k), reads))
        return torch.cat(sums, dim=-1)[..., 0, :] + EPSILON * reads.sum(dim=-1)

    @_in_full_precision
    def _weigh(self, features: Tensor, reads: Tensor) -> Tensor:
        """``(B, H, 1, g)``, the features ``(B, H, m, g)`` weighted and summed."""
        return reads @ features

    @_in_full_precision
    def _features_again(self, k: Tensor) -> Tensor:
        """Feature maps ``(B, H, m, g)`` of keys ``(B, H, g, d)``, without ε, made with the final stabiliser."""
        return self._project(k).sub_(_half_squared_norm(k).mT + self._stabilizer).exp_()


class FavorAttention(FastAttention):
    r"""Performer's linear attention with the keys' stabiliser taken per cell.

    scBERT's published code takes one maximum over the whole batch, which makes a cell's embedding depend on the cells
    it shares a batch with; performer-pytorch takes one per head, which scBERT was not trained with. Here it is the
    maximum over all heads, genes and features **of one cell**, which at batch size 1 is the published code's.

    The projection ω is a buffer that belongs to the weights; nothing redraws it.

    Parameters
    ----------
    dim_head
        d.
    n_features
        m; ``None`` for :math:`\lfloor d \ln d \rfloor`.
    """

    def __init__(self, dim_head: int, n_features: int | None = None) -> None:
        super().__init__(dim_head, n_features)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention output ``(B, H, T, d)`` of queries, keys and values of that shape.

        Differentiable where gradients are on; otherwise it works in blocks of genes and never holds the feature maps of
        the whole sequence.
        """
        if torch.is_grad_enabled():
            return self._attend_whole(q, k, v)
        stream = FavorStream(self.projection_matrix, block_size=genes_in_cache(k.shape[1], len(self.projection_matrix)))
        stream.add_keys(k, v)
        return stream.attend(q)

    @_in_full_precision
    def _attend_whole(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        projection = self.projection_matrix * self.dim_heads**-0.25  # (m, d)
        q_dash, k_dash = q @ projection.mT, k @ projection.mT  # (B, H, T, m)
        q_stabilizer = q_dash.detach().amax(dim=-1, keepdim=True)
        k_stabilizer = k_dash.detach().amax(dim=(1, 2, 3), keepdim=True)
        q_features = torch.exp(q_dash - (_half_squared_norm(q) + q_stabilizer)) + EPSILON
        k_features = torch.exp(k_dash - (_half_squared_norm(k) + k_stabilizer)) + EPSILON
        context = k_features.mT @ v  # (B, H, m, d)
        key_sum = k_features.sum(dim=-2).unsqueeze(-1)  # (B, H, m, 1)
        return (q_features @ context) / (q_features @ key_sum)


def favor_performer(
    *, dim: int, depth: int, heads: int, dim_head: int, ff_mult: int = 4, n_features: int | None = None
) -> Performer:
    """A ``performer_pytorch.Performer`` as scBERT configures it, with :class:`FavorAttention` in every layer.

    Pre-LayerNorm, GELU feed-forward, no bias on queries, keys and values, a bias on the attention's output, and no
    module that redraws projections.
    """
    performer = Performer(
        dim=dim,
        depth=depth,
        heads=heads,
        dim_head=dim_head,
        ff_mult=ff_mult,
        nb_features=n_features,
        qkv_bias=False,
        attn_out_bias=True,
        auto_check_redraw=False,
    )
    del performer.proj_updater  # it redraws projections, and repeats every layer's weights in the state dict
    for attention, _ in performer.net.layers:
        attention.fn.fast_attention = FavorAttention(dim_head, n_features)
    return performer
