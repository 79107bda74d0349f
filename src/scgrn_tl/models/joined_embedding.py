"""Gene embeddings as the link scorer reads them: standardised, and none louder than another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["EmbeddingScale", "standardize_embedding"]


@dataclass(frozen=True, eq=False)
class EmbeddingScale:
    r"""How the gene embedding of one dataset was standardised, to do the same to that of another.

    Several embeddings side by side are standardised each on its own. A dimension of an embedding of width
    :math:`D_k` is then scaled by :math:`\sqrt{\bar D / D_k}`, where :math:`\bar D` is the mean width of all K of
    them: a gene's vectors have the same expected length in each, so that one of 512 dimensions does not drown out one
    of 64, and the whole is as long as if nothing were scaled. A single embedding is left as it is.

    Attributes
    ----------
    mean, std
        ``(D,)``, of every dimension over the genes that have a vector.
    widths
        Width of each embedding, D in all.
    marked
        Which embedding each of the columns tells of that come last: 1 where a gene has a vector in it, else 0.
    """

    mean: np.ndarray
    std: np.ndarray
    widths: tuple[int, ...]
    marked: tuple[int, ...]

    @classmethod
    def fit(cls, embedding: np.ndarray, widths: Sequence[int] = ()) -> EmbeddingScale:
        """Of ``embedding (G, D)``; parameters as of :func:`standardize_embedding`."""
        widths = tuple(widths) or (embedding.shape[1],)
        means, stds = [], []
        indicators: dict[bytes, int] = {}
        for number, block in enumerate(_blocks(embedding, widths)):
            known = np.isfinite(block).all(axis=1)
            if not known.any():
                msg = (
                    "The gene embedding has no gene with finite values. "
                    "Look at how it was aligned to the genes, or leave it out: use_rep=None."
                )
                raise ArgumentError(msg)
            means.append(block[known].mean(0))
            stds.append(block[known].std(0))
            if not known.all():
                indicators.setdefault(known.tobytes(), number)
        return cls(np.concatenate(means), np.concatenate(stds), widths, tuple(indicators.values()))

    def apply(self, embedding: np.ndarray) -> np.ndarray:
        """``float32 (G, D + number of marked)`` of an embedding ``(G, D)``, of the same genes or of others."""
        if embedding.shape[1] != len(self.mean):
            msg = f"The gene embedding is {embedding.shape[1]} wide; expected {len(self.mean)}."
            raise ArgumentError(msg)
        mean_width = len(self.mean) / len(self.widths)
        blocks, present = [], []
        parts = (_blocks(values, self.widths) for values in (embedding, self.mean[None], self.std[None]))
        for block, mean, std in zip(*parts, strict=True):
            known = np.isfinite(block).all(axis=1)
            standard = np.where(known[:, None], (block - mean) / np.where(std > 1e-8, std, 1.0), 0.0)
            blocks.append(standard * math.sqrt(mean_width / block.shape[1]))
            present.append(known[:, None].astype(float))
        return np.hstack([*blocks, *(present[number] for number in self.marked)]).astype(np.float32)


def standardize_embedding(embedding: np.ndarray, widths: Sequence[int] = ()) -> np.ndarray:
    r"""Zero mean and unit variance per dimension over the genes that have a vector; other genes have zeros.

    Several embeddings side by side are scaled as :class:`EmbeddingScale` tells. Last come columns of 1 and 0 that tell
    which genes have a vector: one for every embedding in which some gene has none, unless an earlier one lacks the very
    same genes.

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
    return EmbeddingScale.fit(embedding, widths).apply(embedding)


def _blocks(values: np.ndarray, widths: Sequence[int]) -> Iterator[np.ndarray]:
    """Columns of each embedding."""
    start = 0
    for width in widths:
        yield values[:, start : start + width]
        start += width
