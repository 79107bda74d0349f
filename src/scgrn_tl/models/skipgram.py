"""Gene vectors from skip-grams over co-expressed pairs, as gene2vec (Du et al. 2019) makes scBERT's."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from scgrn_tl.core.errors import ArgumentError

from .coexpression import standardized_expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["coexpressed_pairs", "skipgram_vectors"]

NEIGHBOURS = 20
"""Most partners that a gene has pairs with."""
CORRELATION = 0.1
"""Least correlation of a pair, where a gene has any partner above it."""
NEGATIVES = 5
ROWS_AT_ONCE = 1024


def coexpressed_pairs(
    expression: Any, *, n_neighbours: int = NEIGHBOURS, least: float = CORRELATION
) -> NDArray[np.int64]:
    """Pairs of genes that are expressed together: each gene with those it correlates with most.

    gene2vec takes all pairs above a correlation of 0.9 in any of 984 data sets. One data set of single cells has hardly
    any, so here it is each gene's ``n_neighbours`` most correlated genes, those above ``least``.

    Parameters
    ----------
    expression
        ``(N, G)`` log-normalised expression, dense or sparse.

    Returns
    -------
    ``int64 (P, 2)``, each pair in both directions, sorted.
    """
    standardized, varies = standardized_expression(expression)  # (N, V) without its mean, (G,)
    genes = np.flatnonzero(varies)
    n_cells = standardized.shape[0]
    if len(genes) < 2:
        return np.empty((0, 2), dtype=np.int64)
    mean = np.asarray(standardized.mean(axis=0)).ravel()
    found = []
    for start in range(0, len(genes), ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, len(genes)))
        product = (standardized[:, rows].T @ standardized).toarray()
        correlation = (product - n_cells * np.outer(mean[rows], mean)) / (n_cells - 1)
        correlation[np.arange(len(correlation)), np.arange(rows.start, rows.stop)] = -np.inf
        k = min(n_neighbours, len(genes) - 1)
        nearest = np.argpartition(-correlation, k - 1, axis=1)[:, :k]
        row, place = np.nonzero(np.take_along_axis(correlation, nearest, axis=1) > least)
        found.append(np.stack([row + start, nearest[row, place]], axis=1))
    pairs = genes[np.concatenate(found)]
    return np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)


def skipgram_vectors(
    expression: Any,
    dim: int,
    *,
    seed: int = 0,
    n_steps: int = 2000,
    batch_size: int = 1024,
    learning_rate: float = 0.01,
) -> NDArray[np.float32]:
    r"""Gene vectors by skip-grams with negative sampling (Mikolov et al. 2013) over :func:`coexpressed_pairs`.

    For a pair (g, h) and negatives n drawn in proportion to (number of pairs)^{3/4}:

    .. math:: -\log σ(u_g^\top v_h) - \sum_n \log σ(-u_g^\top v_n),

    minimised with Adam; the vectors are u.

    Parameters
    ----------
    expression
        ``(N, G)`` log-normalised expression, dense or sparse.
    dim
        Width of the vectors.
    seed
        Of first vectors, order and negatives. The same seed gives the same bits on the same CPU.
    n_steps, batch_size, learning_rate
        Steps of Adam, at least, pairs in a step, and its learning rate. Where that is more, there are five passes over
        the pairs.

    Returns
    -------
    ``float32 (G, dim)``. A gene without partners has the zero vector.

    Raises
    ------
    ArgumentError
        If ``dim`` is below 1.
    """
    if dim < 1:
        msg = f"dim is at least 1, not {dim}."
        raise ArgumentError(msg)
    n_genes = expression.shape[1]
    pairs = torch.from_numpy(coexpressed_pairs(expression))
    vectors = np.zeros((n_genes, dim), dtype=np.float32)
    if not len(pairs):
        return vectors
    generator = torch.Generator().manual_seed(seed)
    scale = 0.5 / dim
    centre = nn.Parameter((torch.rand(n_genes, dim, generator=generator) * 2 - 1) * scale)  # u
    context = nn.Parameter(torch.zeros(n_genes, dim))  # v
    optimizer = torch.optim.Adam([centre, context], lr=learning_rate)
    frequency = torch.bincount(pairs[:, 0], minlength=n_genes).double().pow(0.75)
    n_steps = max(n_steps, 5 * -(-len(pairs) // batch_size))
    for batch in islice(_shuffled(pairs, batch_size, generator), n_steps):
        negatives = torch.multinomial(frequency, len(batch) * NEGATIVES, replacement=True, generator=generator)
        u = centre[batch[:, 0]]  # (B, D)
        attracted = (u * context[batch[:, 1]]).sum(dim=1)  # (B,)
        repelled = torch.einsum("bd,bnd->bn", u, context[negatives.view(len(batch), NEGATIVES)])  # (B, n)
        loss = -(nn.functional.logsigmoid(attracted).sum() + nn.functional.logsigmoid(-repelled).sum())
        optimizer.zero_grad()
        (loss / len(batch)).backward()
        optimizer.step()
    paired = pairs[:, 0].unique()
    vectors[paired] = centre.detach()[paired].numpy()
    return vectors


def _shuffled(pairs: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of pairs without end, in a new order each time round."""
    while True:
        yield from pairs[torch.randperm(len(pairs), generator=generator)].split(batch_size)
