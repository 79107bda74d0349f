"""Attention sums as scBERT's published script makes them, written down from its equations.

The attention matrix of every head comes out of the linear attention by giving it the unit matrix for values:
A = D⁻¹ Q′ (K′ᵀ I), of size T × T, in half precision. Heads are averaged, and columns summed up.
"""

from __future__ import annotations

import torch
from performer_pytorch.performer_pytorch import softmax_kernel


def feature_maps(q, k, projection):
    """φ(q), φ(k) ``(1, H, T, m)`` as performer-pytorch computes them."""
    queries = softmax_kernel(q, projection_matrix=projection, is_query=True)
    keys = softmax_kernel(k, projection_matrix=projection, is_query=False)
    return queries, keys


def published_sums(queries, keys, dtype=torch.float16):
    """Column sums ``(T,)``, averaged over heads, from feature maps ``(1, H, T, m)``."""
    n_heads, n_genes = queries.shape[1:3]
    unit = torch.eye(n_genes).to(dtype)
    matrix = torch.zeros(n_genes, n_genes, dtype=dtype)
    for head in range(n_heads):
        q, k = queries[0, head].to(dtype), keys[0, head].to(dtype)
        normalizer = 1 / torch.einsum("nd,d->n", q, k.sum(dim=0))
        context = torch.einsum("nd,ne->de", k, unit)
        matrix += torch.einsum("de,nd,n->ne", context, q, normalizer).abs()
    return (matrix / n_heads).float().sum(dim=0)


def linear_sums(queries, keys):
    """The same without the matrix: a = K′ Σ_i q′_i / (q′_i · Σ_j k′_j)."""
    normalizer = 1 / (queries @ keys.sum(dim=-2).unsqueeze(-1))  # (1, H, T, 1)
    reads = (normalizer.mT @ queries).mT  # (1, H, m, 1)
    return (keys @ reads)[0, ..., 0].mean(dim=0)


def published_pass(performer, x, dtype=torch.float16):
    """Hidden states ``(1, T, D)`` and attention sums ``(T,)``, averaged over layers, of a ``Performer``."""
    sums = torch.zeros(x.shape[1])
    for attend, feed_forward in performer.net.layers:
        multi_head, normed = attend.fn, attend.norm(x)
        q, k, v = (
            project(normed).unflatten(-1, (multi_head.heads, -1)).transpose(1, 2)
            for project in (multi_head.to_q, multi_head.to_k, multi_head.to_v)
        )
        queries, keys = feature_maps(q, k, multi_head.fast_attention.projection_matrix)
        normalizer = 1 / (queries @ keys.sum(dim=-2).unsqueeze(-1))
        out = (queries @ (keys.mT @ v)) * normalizer
        x = x + multi_head.to_out(out.transpose(1, 2).flatten(2))
        x = x + feed_forward(x)
        sums += published_sums(queries, keys, dtype)
    return x, sums / len(performer.net.layers)
