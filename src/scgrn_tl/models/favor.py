r"""FAVOR+ attention with one stabiliser per cell, and its exact column sums in linear memory (model.md §2–3).

Choromanski et al. 2021 write softmax attention as :math:`A \approx D^{-1} Q' K'^\top` with positive random features

.. math:: φ(x) = m^{-1/2} \left(\exp(ω x d^{-1/4} - ‖x‖² d^{-1/2} / 2 - s) + ε\right), \qquad ε = 10^{-4}.

The factor :math:`m^{-1/2}` cancels in the quotient and is left out below. Shapes: B cells, H heads, T genes, d head
width, m random features.
"""

from __future__ import annotations

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

__all__ = ["FavorAttention", "FavorStream", "blocks", "favor_performer"]

Result = TypeVar("Result")

EPSILON = 1e-4
BLOCK_SIZE = 256
"""Genes whose feature maps are held at a time where no other size is given: on a CPU they should stay in cache."""


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
    :meth:`attention_sums` for every block. In between it holds sums of shape ``(B, H, m, d)`` and nothing that grows
    with T.

    The keys' stabiliser s, one maximum per cell, is known only after the last block. Until then a running maximum
    stands for it, and what has been summed is rescaled when it grows. The terms in ε do not carry s and add up apart:

    .. math:: \sum_j φ(k_j) v_j^\top = \sum_j e^{… - s} v_j^\top + ε \mathbf{1} \sum_j v_j^\top.

    Feature maps are laid out ``(B, H, m, g)``, genes last: matrix products are faster so than with rows of m = 266.

    Parameters
    ----------
    projection
        ω, ``(m, d)``.
    """

    def __init__(self, projection: Tensor) -> None:
        self.projection_matrix = projection
        self._projection = projection * projection.shape[1] ** -0.25
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
        features = self._projection @ k.mT  # (B, H, m, g)
        stabilizer = features.amax(dim=(1, 2, 3), keepdim=True)
        if self._n_keys:
            stabilizer = torch.maximum(stabilizer, self._stabilizer)
        features.sub_(_half_squared_norm(k).mT + stabilizer).exp_()
        context, total, value_sum = features @ v, features.sum(dim=-1, keepdim=True), v.sum(dim=-2, keepdim=True)
        if self._n_keys:
            shrink = torch.exp(self._stabilizer - stabilizer)
            context += self._exponential_context * shrink
            total += self._exponential_sum * shrink
            value_sum += self._value_sum
        self._exponential_context, self._exponential_sum, self._value_sum = context, total, value_sum
        self._stabilizer = stabilizer
        self._n_keys += k.shape[-2]

    @_in_full_precision
    def attend(self, q: Tensor) -> Tensor:
        """Attention output ``(B, H, g, d)`` of a block of queries ``(B, H, g, d)``."""
        if self._readout is None:
            context = self._exponential_context + EPSILON * self._value_sum
            total = self._exponential_sum + EPSILON * self._n_keys
            self._readout = torch.cat([context, total], dim=-1).mT.contiguous()
            self._epsilon_readout = EPSILON * self._readout.sum(dim=-1, keepdim=True)
        features = self._projection @ q.mT  # (B, H, m, g)
        features.sub_(_half_squared_norm(q).mT + features.amax(dim=-2, keepdim=True)).exp_()
        read = (self._readout @ features).add_(self._epsilon_readout)  # (B, H, d + 1, g)
        reciprocal = read[..., -1:, :].reciprocal()  # (B, H, 1, g)
        reads = reciprocal @ features.mT
        reciprocals = reciprocal.sum(dim=-1, keepdim=True)
        if self._n_queries:
            reads += self._exponential_reads
            reciprocals += self._reciprocals
        self._exponential_reads, self._reciprocals = reads, reciprocals
        self._n_queries += q.shape[-2]
        return (read[..., :-1, :] * reciprocal).mT

    @_in_full_precision
    def attention_sums(self, k: Tensor) -> Tensor:
        r"""Column sums of the attention matrix, ``(B, H, g)``, for a block of keys ``(B, H, g, d)``.

        :math:`a_j = φ(k_j) \cdot \sum_i φ(q_i) / (φ(q_i) \cdot \sum_l φ(k_l))`, over every query that was given to
        :meth:`attend`. The features of the keys are computed anew rather than kept.
        """
        reads = self._exponential_reads + EPSILON * self._reciprocals  # (B, H, 1, m)
        features = self._projection @ k.mT
        features.sub_(_half_squared_norm(k).mT + self._stabilizer).exp_()
        return (reads @ features)[..., 0, :] + EPSILON * reads.sum(dim=-1)


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
        stream = FavorStream(self.projection_matrix)
        for genes in blocks(k.shape[-2], BLOCK_SIZE):
            stream.add_keys(k[..., genes, :], v[..., genes, :])
        return torch.cat([stream.attend(q[..., genes, :]) for genes in blocks(q.shape[-2], BLOCK_SIZE)], dim=-2)

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
