"""Gene embeddings as the link scorer reads them: standardised, and none louder than another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["standardize_embedding"]


def standardize_embedding(embedding: np.ndarray, widths: Sequence[int] = ()) -> np.ndarray:
    r"""Zero mean and unit variance per dimension over the genes that have a vector; other genes have zeros.

    Several embeddings side by side are standardised each on its own. A dimension of an embedding of width
    :math:`D_k` is then scaled by :math:`\sqrt{\bar D / D_k}`, where :math:`\bar D` is the mean width of all K of
    them: a gene's vectors have the same expected length in each, so that one of 512 dimensions does not drown out one
    of 64, and the whole is as long as if nothing were scaled. A single embedding is left as it is.

    Last come columns of 1 and 0 that tell which genes have a vector: one for every embedding in which some gene has
    none, unless an earlier one lacks the very same genes.

    Parameters
    ----------
    embedding
        ``(G, D)``; a value that is not finite means that the gene has no vector in the embedding it belongs to.
    widths
        Width of each embedding; empty for a single one.

    Returns
    -------
    ``float32 (G, D + number of such columns)``.

    Raises
    ------
    ArgumentError
        If an embedding has no gene with finite values.
    """
    widths = tuple(widths) or (embedding.shape[1],)
    mean_width = embedding.shape[1] / len(widths)
    blocks: list[np.ndarray] = []
    indicators: dict[bytes, np.ndarray] = {}
    for block in np.split(embedding, np.cumsum(widths)[:-1], axis=1):
        known = np.isfinite(block).all(axis=1)
        if not known.any():
            msg = "The gene embedding has no gene with finite values."
            raise ArgumentError(msg)
        mean, std = block[known].mean(0), block[known].std(0)
        standard = np.where(known[:, None], (block - mean) / np.where(std > 1e-8, std, 1.0), 0.0)
        blocks.append(standard * math.sqrt(mean_width / block.shape[1]))
        if not known.all():
            indicators.setdefault(known.tobytes(), known[:, None].astype(float))
    return np.hstack([*blocks, *indicators.values()]).astype(np.float32)
