"""Gene embeddings of an encoder that has learned nothing."""

from __future__ import annotations

import numpy as np
import torch

from scgrn_tl.core.random import spawn_seeds
from scgrn_tl.core.tokens import tokenize

from .pooling import GenePool
from .scbert import ScBERT, ScBERTConfig
from .threads import threads_for

__all__ = ["random_encoding"]

BATCH_POSITIONS = 2**16
"""Genes × cells encoded at a time."""


def random_encoding(
    expression: np.ndarray, *, seed: int, device: str = "cpu", max_cells: int = 1024, dim: int = 64, depth: int = 2
) -> np.ndarray:
    """Attention-pooled gene embeddings of a small encoder with random weights.

    The architecture is that of ``weights="fit"``, gene vectors and all other weights are drawn and stay as drawn.

    Parameters
    ----------
    expression
        Genes × cells, log2-normalised.
    seed
        Of the weights, and of the cells where there are more than ``max_cells``.
    device
        Torch device to compute on.
    max_cells
        Most cells to pool over.
    dim, depth
        Width and layers.

    Returns
    -------
    ``float32 (G, dim)``.
    """
    weights_seed, cells_seed = spawn_seeds(seed, 2)
    n_genes, n_cells = expression.shape
    cells = np.arange(n_cells)
    if n_cells > max_cells:
        cells = np.sort(np.random.default_rng(cells_seed).choice(n_cells, max_cells, replace=False))
    model = ScBERT(ScBERTConfig(n_genes=n_genes, dim=dim, depth=depth, heads=4, dim_head=16))
    model.initialize(torch.Generator().manual_seed(weights_seed)).to(device)
    pool = GenePool(n_genes, dim)
    step = max(1, BATCH_POSITIONS // n_genes)
    with torch.inference_mode(), threads_for(step * n_genes * dim):
        for start in range(0, len(cells), step):
            tokens = torch.from_numpy(tokenize(expression[:, cells[start : start + step]].T))  # (B, G)
            encoding = model.encode(tokens.to(device))
            pool.update(encoding.hidden, encoding.attention)
    return pool.result()
