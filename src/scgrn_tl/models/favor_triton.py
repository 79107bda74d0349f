r"""FAVOR+ attention in fused kernels, for CUDA devices. Same equations and same calls as :mod:`scgrn_tl.models.favor`.

Importing this module needs Triton; :func:`scgrn_tl.models.favor_path.favor_stream` says when it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton
import triton.language as tl

from scgrn_tl.core.errors import ArgumentError

from .favor import EPSILON
from .favor_kernels import column_sum_kernel, context_kernel, read_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

__all__ = ["MAX_DIM_HEAD", "FusedFavorStream"]

MAX_DIM_HEAD = 128
"""Widest head whose tiles fit into the registers and shared memory of one multiprocessor."""
SPLIT = 1024
"""Genes whose keys one program sums. Fixed, so that the order of summation is."""
# Products of weights with values. Half-precision values keep their own precision, float16 through TF32 because sums
# over 17,000 genes would leave its range; float32 means float32.
_PRODUCTS = {
    torch.float32: (tl.float32, "tf32x3"),
    torch.float16: (tl.float32, "tf32"),
    torch.bfloat16: (tl.bfloat16, "tf32"),
}
INTERPRETED = not isinstance(context_kernel, triton.JITFunction)
"""Whether Triton runs kernels in its interpreter, on any device (``TRITON_INTERPRET=1`` when it was imported)."""
if INTERPRETED:  # it multiplies bfloat16 as the integers that store it
    _PRODUCTS[torch.bfloat16] = (tl.float32, "tf32")


class FusedFavorStream:
    """One attention layer over some cells; the counterpart of :class:`~scgrn_tl.models.favor.FavorStream` in Triton.

    The same three calls in the same order give the same results up to rounding, and the same results bit for bit on
    the same device. The feature maps never reach memory, so that a block of genes may be as long as q, k and v
    themselves allow. For inference: no gradients.

    Parameters
    ----------
    projection
        ω, float32 ``(m, d)``, d at most 128.

    Raises
    ------
    ArgumentError
        If the projection has another type or shape.
    """

    def __init__(self, projection: Tensor) -> None:
        if projection.ndim != 2 or projection.dtype != torch.float32 or projection.shape[1] > MAX_DIM_HEAD:
            msg = (
                f"Fused attention takes a float32 projection (m, d) with d of at most {MAX_DIM_HEAD}, not "
                f"{projection.dtype} {tuple(projection.shape)}. Set SCGRN_TL_ATTENTION=torch for any other."
            )
            raise ArgumentError(msg)
        self.n_features, self.dim_head = projection.shape
        self._projection = (projection * self.dim_head**-0.25).contiguous()
        self._half_scale = 0.5 * self.dim_head**-0.5
        self._sizes = _sizes(self.n_features, self.dim_head)
        self._n_keys = 0
        self._stabilizer: Tensor  # (B, 1, 1, 1), max ω k over heads, genes and features
        self._exponential_context: Tensor  # (B, H, m, d), Σ_j e^{…} v_j
        self._exponential_total: Tensor  # (B, H, m), Σ_j e^{…}
        self._value_sum: Tensor  # (B, H, 1, d), Σ_j v_j
        self._context: Tensor | None = None  # (B, H, m, d), Σ_j φ(k_j) v_j
        self._total: Tensor  # (B, H, m), Σ_j φ(k_j)
        self._reads: Tensor | None = None  # (B, H, m), Σ_i e^{…} / (φ(q_i)·Σ_j φ(k_j))
        self._reciprocals: Tensor  # (B, H), Σ_i 1 / (φ(q_i)·Σ_j φ(k_j))

    def add_keys(self, k: Tensor, v: Tensor) -> None:
        """Take in a block of keys and values, ``(B, H, g, d)`` each."""
        k, v = self._checked(k), self._checked(v)
        n_cells, n_heads, n_genes, _ = k.shape
        n_splits = triton.cdiv(n_genes, SPLIT)
        contexts = self._empty(n_cells, n_heads, n_splits, self.n_features, self.dim_head)
        totals, maxima = (self._empty(n_cells, n_heads, n_splits, self.n_features) for _ in range(2))
        product, precision = _PRODUCTS[v.dtype]
        with torch.cuda.device_of(k):
            context_kernel[(n_cells * n_heads * n_splits * triton.cdiv(self.n_features, self._sizes["BLOCK_M"]),)](
                k,
                v,
                self._projection,
                contexts,
                totals,
                maxima,
                n_genes,
                n_heads,
                n_splits,
                *k.stride()[:3],
                *v.stride()[:3],
                self._half_scale,
                SPLIT=SPLIT,
                PRODUCT=product,
                PRECISION=precision,
                **self._sizes,
            )
        stabilizer = maxima.amax(dim=(1, 2, 3))[:, None, None, None]
        if self._n_keys:
            stabilizer = torch.maximum(stabilizer, self._stabilizer)
        weights = torch.exp(maxima - stabilizer)
        context = contexts.mul_(weights.unsqueeze(-1)).sum(dim=2)
        total = totals.mul_(weights).sum(dim=2)
        value_sum = v.sum(dim=2, keepdim=True, dtype=torch.float32)
        if self._n_keys:
            shrink = torch.exp(self._stabilizer - stabilizer)
            context += self._exponential_context * shrink
            total += self._exponential_total * shrink[..., 0]
            value_sum += self._value_sum
        self._exponential_context, self._exponential_total, self._value_sum = context, total, value_sum
        self._stabilizer = stabilizer
        self._n_keys += n_genes

    def attend(self, q: Tensor) -> Tensor:
        """Attention output ``(B, H, g, d)`` of a block of queries of that shape, in the queries' type."""
        q = self._checked(q)
        if self._context is None:
            self._context = self._exponential_context + EPSILON * self._value_sum
            self._total = self._exponential_total + EPSILON * self._n_keys
        n_cells, n_heads, n_genes, _ = q.shape
        n_blocks = triton.cdiv(n_genes, self._sizes["BLOCK_T"])
        # Laid out (B, g, H, d), as the layer's output projection reads it.
        output = q.new_empty(n_cells, n_genes, n_heads, self.dim_head).transpose(1, 2)
        reads = self._empty(n_cells, n_heads, n_blocks, self.n_features)
        reciprocals = self._empty(n_cells, n_heads, n_blocks)
        product, precision = _PRODUCTS[q.dtype]
        with torch.cuda.device_of(q):
            read_kernel[(n_cells * n_heads * n_blocks,)](
                q,
                self._projection,
                self._context,
                self._total,
                EPSILON * self._context.sum(dim=2),
                EPSILON * self._total.sum(dim=2),
                output,
                reads,
                reciprocals,
                n_genes,
                n_heads,
                n_blocks,
                *q.stride()[:3],
                *output.stride()[:3],
                self._half_scale,
                PRODUCT=product,
                PRECISION=precision,
                **self._sizes,
            )
        block_reads, block_reciprocals = reads.sum(dim=2), reciprocals.sum(dim=2)
        if self._reads is not None:
            block_reads += self._reads
            block_reciprocals += self._reciprocals
        self._reads, self._reciprocals = block_reads, block_reciprocals
        return output

    def attention_sums(self, keys: Callable[[slice], Tensor]) -> Tensor:
        """Column sums of the attention matrix, float32 ``(B, H, T)``, over every query given to :meth:`attend`.

        ``keys(genes)`` gives the keys ``(B, H, g, d)`` of a slice of the genes again.
        """
        if self._reads is None:
            msg = "No query has been read yet: call attend() for every block before attention_sums()."
            raise ArgumentError(msg)
        k = self._checked(keys(slice(0, self._n_keys)))
        n_cells, n_heads, n_genes, _ = k.shape
        n_blocks = triton.cdiv(n_genes, self._sizes["BLOCK_T"])
        reads = self._reads + EPSILON * self._reciprocals.unsqueeze(-1)
        sums = self._empty(n_cells, n_heads, n_genes)
        with torch.cuda.device_of(k):
            column_sum_kernel[(n_cells * n_heads * n_blocks,)](
                k,
                self._projection,
                self._stabilizer,
                reads,
                EPSILON * reads.sum(dim=-1),
                sums,
                n_genes,
                n_heads,
                n_blocks,
                *k.stride()[:3],
                self._half_scale,
                **self._sizes,
            )
        return sums

    def _checked(self, x: Tensor) -> Tensor:
        """``x`` with a contiguous last dimension, if it is ``(B, H, g, d)`` of a type the kernels take."""
        if x.ndim != 4 or x.shape[-1] != self.dim_head or x.dtype not in _PRODUCTS:
            msg = (
                f"Fused attention takes (cells, heads, genes, {self.dim_head}) in float32, bfloat16 or float16, not "
                f"{x.dtype} {tuple(x.shape)}."
            )
            raise ArgumentError(msg)
        return x if x.stride(-1) == 1 else x.contiguous()

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=self._projection.device)


def _sizes(n_features: int, dim_head: int) -> dict[str, Any]:
    """Compile-time sizes of the kernels and their launch options.

    Tiles are powers of two, at least the 16 that a matrix unit takes, and small enough that next to nothing spills out
    of the registers of compute capability 8.0 and 9.0. Not tuned on a device: trying several would let the order of
    summation differ between machines, and between runs.
    """
    block_d = max(16, triton.next_power_of_2(dim_head))
    wide = block_d > 64
    return {
        "N_FEATURES": n_features,
        "DIM_HEAD": dim_head,
        "BLOCK_T": 32 if wide else 64,
        "BLOCK_M": 16 if wide or n_features <= 16 else 32,
        "BLOCK_D": block_d,
        "num_warps": 4,
        "num_stages": 2,
        "enable_fp_fusion": True,
    }
