# mypy: disable-error-code="no-untyped-def, no-untyped-call"
"""Triton kernels of FAVOR+ attention; :mod:`scgrn_tl.models.favor_triton` launches them.

Feature maps live in registers, a tile at a time, and never reach memory. Exponents, maxima, sums and accumulators are
float32; the exponents' products are taken as three TF32 products, which is float32 up to the last bits, because an
exponent of a few tens rounded to TF32 would put its feature off by a percent. No kernel adds atomically: partial sums
are written apart and reduced by the caller, so that results do not change from run to run.

Shapes: B cells, H heads, T genes, d head width, m random features. ``projection`` is ω d^{-1/4}, ``(m, d)``, and
``half_scale`` is d^{-1/2} / 2. Queries, keys, values and the output may have any strides but a contiguous last
dimension. Everything else is contiguous. Importing this module needs Triton.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["column_sum_kernel", "context_kernel", "read_kernel"]


@triton.jit
def _load_rows(
    tensor,
    cell,
    head,
    first,
    n_genes,
    stride_cell,
    stride_head,
    stride_gene,
    DIM_HEAD: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Genes ``first … first + BLOCK_T`` of one cell and head, (BLOCK_T, BLOCK_D), zeros outside."""
    genes = tl.arange(0, BLOCK_T)
    dims = tl.arange(0, BLOCK_D)
    # One (cell, head, gene) may lie beyond 2³¹ values: its place is a 64-bit number, offsets inside the tile are not.
    start = cell.to(tl.int64) * stride_cell + head.to(tl.int64) * stride_head + tl.cast(first, tl.int64) * stride_gene
    return tl.load(
        tensor + start + genes[:, None] * stride_gene + dims[None, :],
        mask=(first + genes < n_genes)[:, None] & (dims < DIM_HEAD)[None, :],
        other=0.0,
    )


@triton.jit
def _exponents(
    rows,
    projection,
    first,
    N_FEATURES: tl.constexpr,
    DIM_HEAD: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """ω x d^{-1/4} of float32 ``rows`` for features ``first … first + BLOCK_M``, (BLOCK_T, BLOCK_M), −∞ outside."""
    features = first + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    omega = tl.load(
        projection + features[None, :] * DIM_HEAD + dims[:, None],
        mask=(features < N_FEATURES)[None, :] & (dims < DIM_HEAD)[:, None],
        other=0.0,
    )  # (BLOCK_D, BLOCK_M)
    exponents = tl.dot(rows, omega, input_precision="tf32x3")
    return tl.where((features < N_FEATURES)[None, :], exponents, float("-inf"))


@triton.jit
def context_kernel(
    keys,
    values,
    projection,
    contexts,
    totals,
    maxima,
    n_genes,
    n_heads,
    n_splits,
    key_stride_cell,
    key_stride_head,
    key_stride_gene,
    value_stride_cell,
    value_stride_head,
    value_stride_gene,
    half_scale,
    N_FEATURES: tl.constexpr,
    DIM_HEAD: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRODUCT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    r"""Per feature and split of SPLIT genes: max ω k, and Σ e^{…} [v ‖ 1] with that maximum as stabiliser.

    This is the forward pass of flash attention with the random features in the place of queries. Writes ``contexts``
    (B, H, n_splits, m, d), ``totals`` and ``maxima`` (B, H, n_splits, m). Grid: B·H·n_splits·⌈m / BLOCK_M⌉.
    """
    n_tiles: tl.constexpr = (N_FEATURES + BLOCK_M - 1) // BLOCK_M
    program = tl.program_id(0)
    part = program // n_tiles  # which cell, head and split
    split = part % n_splits
    cell = part // n_splits // n_heads
    head = part // n_splits % n_heads
    features = program % n_tiles * BLOCK_M + tl.arange(0, BLOCK_M)
    dims = tl.arange(0, BLOCK_D)
    known = features < N_FEATURES
    wanted = known[:, None] & (dims < DIM_HEAD)[None, :]
    omega = tl.load(projection + features[:, None] * DIM_HEAD + dims[None, :], mask=wanted, other=0.0)

    largest = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    context = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    last = tl.minimum(split * SPLIT + SPLIT, n_genes)
    for first in range(split * SPLIT, last, BLOCK_T):
        k = _load_rows(
            keys,
            cell,
            head,
            first,
            last,
            key_stride_cell,
            key_stride_head,
            key_stride_gene,
            DIM_HEAD,
            BLOCK_T,
            BLOCK_D,
        ).to(tl.float32)
        v = _load_rows(
            values,
            cell,
            head,
            first,
            last,
            value_stride_cell,
            value_stride_head,
            value_stride_gene,
            DIM_HEAD,
            BLOCK_T,
            BLOCK_D,
        )
        exponents = tl.dot(omega, tl.trans(k), input_precision="tf32x3")  # (BLOCK_M, BLOCK_T)
        inside = first + tl.arange(0, BLOCK_T) < last
        exponents = tl.where(inside[None, :], exponents, float("-inf"))
        half_norm = tl.sum(k * k, axis=1) * half_scale
        grown = tl.maximum(largest, tl.max(exponents, axis=1))
        shrink = tl.exp(largest - grown)
        weights = tl.exp(exponents - (half_norm[None, :] + grown[:, None]))
        total = total * shrink + tl.sum(weights, axis=1)
        context = tl.dot(weights.to(PRODUCT), v.to(PRODUCT), context * shrink[:, None], input_precision=PRECISION)
        largest = grown

    row = part.to(tl.int64) * N_FEATURES + features
    tl.store(maxima + row, largest, mask=known)
    tl.store(totals + row, total, mask=known)
    tl.store(contexts + row[:, None] * DIM_HEAD + dims[None, :], context, mask=wanted)


@triton.jit
def read_kernel(
    queries,
    projection,
    context,
    totals,
    epsilon_context,
    epsilon_total,
    output,
    reads,
    reciprocals,
    n_genes,
    n_heads,
    n_blocks,
    query_stride_cell,
    query_stride_head,
    query_stride_gene,
    output_stride_cell,
    output_stride_head,
    output_stride_gene,
    half_scale,
    N_FEATURES: tl.constexpr,
    DIM_HEAD: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
    PRODUCT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    r"""Attention output of BLOCK_T queries, and their share of what the column sums need.

    Reads ``context`` (B, H, m, d) and ``totals`` (B, H, m), the sums over keys, and what ε adds to every read:
    ``epsilon_context`` (B, H, d), ``epsilon_total`` (B, H). Writes ``output`` (B, H, T, d), and per block of queries
    ``reads`` (B, H, n_blocks, m), Σ_i e^{…} / (φ(q_i)·Σ_j φ(k_j)), and ``reciprocals`` (B, H, n_blocks),
    Σ_i 1 / (φ(q_i)·Σ_j φ(k_j)). Grid: B·H·n_blocks.
    """
    program = tl.program_id(0)
    first = program % n_blocks * BLOCK_T
    pair = program // n_blocks  # which cell and head
    cell = pair // n_heads
    head = pair % n_heads
    place = pair.to(tl.int64)
    dims = tl.arange(0, BLOCK_D)
    inside = first + tl.arange(0, BLOCK_T) < n_genes
    q = _load_rows(
        queries,
        cell,
        head,
        first,
        n_genes,
        query_stride_cell,
        query_stride_head,
        query_stride_gene,
        DIM_HEAD,
        BLOCK_T,
        BLOCK_D,
    ).to(tl.float32)
    half_norm = tl.sum(q * q, axis=1) * half_scale

    largest = tl.full([BLOCK_T], float("-inf"), tl.float32)
    denominator = tl.zeros([BLOCK_T], tl.float32)
    read = tl.zeros([BLOCK_T, BLOCK_D], tl.float32)
    for tile in range(0, N_FEATURES, BLOCK_M):
        features = tile + tl.arange(0, BLOCK_M)
        known = features < N_FEATURES
        exponents = _exponents(q, projection, tile, N_FEATURES, DIM_HEAD, BLOCK_M, BLOCK_D)
        grown = tl.maximum(largest, tl.max(exponents, axis=1))
        shrink = tl.exp(largest - grown)
        weights = tl.exp(exponents - (half_norm + grown)[:, None])
        total = tl.load(totals + place * N_FEATURES + features, mask=known, other=0.0)
        tile_context = tl.load(
            context + (place * N_FEATURES + features)[:, None] * DIM_HEAD + dims[None, :],
            mask=known[:, None] & (dims < DIM_HEAD)[None, :],
            other=0.0,
        )
        denominator = denominator * shrink + tl.sum(weights * total[None, :], axis=1)
        read = tl.dot(weights.to(PRODUCT), tile_context.to(PRODUCT), read * shrink[:, None], input_precision=PRECISION)
        largest = grown

    read += tl.load(epsilon_context + place * DIM_HEAD + dims, mask=dims < DIM_HEAD, other=0.0)[None, :]
    reciprocal = 1.0 / (denominator + tl.load(epsilon_total + place))
    genes = tl.arange(0, BLOCK_T)
    start = (
        cell.to(tl.int64) * output_stride_cell
        + head.to(tl.int64) * output_stride_head
        + tl.cast(first, tl.int64) * output_stride_gene
    )
    tl.store(
        output + start + genes[:, None] * output_stride_gene + dims[None, :],
        (read * reciprocal[:, None]).to(output.dtype.element_ty),
        mask=inside[:, None] & (dims < DIM_HEAD)[None, :],
    )

    reciprocal = tl.where(inside, reciprocal, 0.0)
    tl.store(reciprocals + program, tl.sum(reciprocal, axis=0))
    # The reciprocals are known only now. Taking the features anew costs one product; keeping them would cost memory.
    for tile in range(0, N_FEATURES, BLOCK_M):
        features = tile + tl.arange(0, BLOCK_M)
        exponents = _exponents(q, projection, tile, N_FEATURES, DIM_HEAD, BLOCK_M, BLOCK_D)
        weights = tl.exp(exponents - (half_norm + largest)[:, None])
        tl.store(
            reads + program.to(tl.int64) * N_FEATURES + features,
            tl.sum(weights * reciprocal[:, None], axis=0),
            mask=features < N_FEATURES,
        )


@triton.jit
def column_sum_kernel(
    keys,
    projection,
    stabilizers,
    reads,
    epsilon_reads,
    sums,
    n_genes,
    n_heads,
    n_blocks,
    key_stride_cell,
    key_stride_head,
    key_stride_gene,
    half_scale,
    N_FEATURES: tl.constexpr,
    DIM_HEAD: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Column sums of the attention matrix, φ(k_j)·reads, for BLOCK_T keys.

    Reads ``stabilizers`` (B,), ``reads`` (B, H, m) and what ε adds, ``epsilon_reads`` (B, H). Writes ``sums``
    (B, H, T). Grid: B·H·n_blocks.
    """
    program = tl.program_id(0)
    first = program % n_blocks * BLOCK_T
    pair = program // n_blocks
    cell = pair // n_heads
    place = pair.to(tl.int64)
    k = _load_rows(
        keys,
        cell,
        pair % n_heads,
        first,
        n_genes,
        key_stride_cell,
        key_stride_head,
        key_stride_gene,
        DIM_HEAD,
        BLOCK_T,
        BLOCK_D,
    ).to(tl.float32)
    shift = tl.sum(k * k, axis=1) * half_scale + tl.load(stabilizers + cell)

    column_sum = tl.zeros([BLOCK_T], tl.float32)
    for tile in range(0, N_FEATURES, BLOCK_M):
        features = tile + tl.arange(0, BLOCK_M)
        exponents = _exponents(k, projection, tile, N_FEATURES, DIM_HEAD, BLOCK_M, BLOCK_D)
        read = tl.load(reads + place * N_FEATURES + features, mask=features < N_FEATURES, other=0.0)
        column_sum += tl.sum(tl.exp(exponents - shift[:, None]) * read[None, :], axis=1)

    genes = first + tl.arange(0, BLOCK_T)
    tl.store(sums + place * n_genes + genes, column_sum + tl.load(epsilon_reads + place), mask=genes < n_genes)
