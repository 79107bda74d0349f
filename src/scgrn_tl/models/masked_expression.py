"""Hiding expression bins for an encoder to predict (Yang et al. 2022, scBERT's pretraining)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.tokens import MASK_TOKEN, N_BINS, log_normalize, tokenize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

__all__ = ["EXPRESSED_BINS", "CellTokenizer", "ExpressionMasker", "MaskedBatch", "mask_expressed"]

EXPRESSED_BINS = slice(1, MASK_TOKEN)
"""Tokens that a masked position can have: neither zero, which is never masked, nor the mask itself."""


def mask_expressed(
    tokens: Tensor, generator: torch.Generator, *, mask_fraction: float = 0.15, replace_probability: float = 0.9
) -> tuple[Tensor, Tensor]:
    """Choose ``ceil(mask_fraction · expressed)`` of every cell's expressed positions, and hide most of them.

    As in scBERT, positions with token 0 are never chosen, and a chosen one becomes the mask token with
    ``replace_probability`` and keeps its token otherwise.

    Parameters
    ----------
    tokens
        ``int64 (B, T)``, on the generator's device.
    generator
        Source of randomness.

    Returns
    -------
    masked
        ``int64 (B, T)``, the encoder's input.
    chosen
        ``bool (B, T)``, the positions to predict.
    """
    expressed = tokens > 0
    quota = (expressed.sum(dim=1, keepdim=True) * mask_fraction).ceil()  # (B, 1)
    draws = torch.rand(tokens.shape, generator=generator, device=generator.device)
    rank = draws.masked_fill(~expressed, 2.0).argsort(dim=1).argsort(dim=1)  # expressed positions first
    chosen = expressed & (rank < quota)
    replaced = torch.rand(tokens.shape, generator=generator, device=generator.device) < replace_probability
    return tokens.masked_fill(chosen & replaced, MASK_TOKEN), chosen


@dataclass(frozen=True, eq=False)
class CellTokenizer:
    """Rows of an expression matrix as tokens over the genes that an encoder knows.

    Attributes
    ----------
    columns
        ``int64[T]``, where the genes are in the matrix.
    positions
        ``int64[T]``, where they are in the encoder's vocabulary, ascending.
    normalize
        Whether the values are counts, to become log2(1 + 10⁴·count/total) with the total over the whole row.
    to_log2
        What log-normalised values are multiplied with to be logarithms to base 2.
    """

    columns: np.ndarray
    positions: np.ndarray
    normalize: bool
    to_log2: float = 1.0

    def logarithms(self, expression: np.ndarray) -> np.ndarray:
        """``float64 (B, T)``, ``expression (B, G)``, which should be float64, on the log2 scale."""
        known = expression[:, self.columns]
        return log_normalize(known, expression.sum(axis=1)) if self.normalize else known * self.to_log2

    def __call__(self, expression: np.ndarray) -> np.ndarray:
        """``int64 (B, T)``, tokens of ``expression (B, G)``."""
        return tokenize(self.logarithms(expression))


class MaskedBatch(NamedTuple):
    """What one step sees.

    Attributes
    ----------
    tokens
        ``int64 (B, t)``, the encoder's input, with hidden bins.
    bins
        ``int64 (B, t)``, the true bin where one is to be predicted, else 0.
    positions
        ``int64 (t,)``, positions of the step's genes in the encoder's vocabulary.
    usual
        ``int64 (t,)``, the bin that each of these genes most often has where it is expressed in training cells.
    """

    tokens: Tensor
    bins: Tensor
    positions: Tensor
    usual: Tensor


@dataclass(eq=False)
class ExpressionMasker:
    """Draws the genes and the masks of each step.

    Genes that no training cell expresses are left out: they teach nothing, and cannot be learned.

    Attributes
    ----------
    positions
        ``int64[T]``, vocabulary positions of the tokens' columns.
    max_genes
        Most genes in a step; of more, a random part is drawn.
    mask_fraction, replace_probability
        See :func:`mask_expressed`.
    usual
        ``int64[T]``, the bin that a gene most often has where it is expressed in the cells given to :meth:`count`; for
        a gene that is not expressed there, that of all genes together.
    """

    positions: np.ndarray
    max_genes: int = 1024
    mask_fraction: float = 0.15
    replace_probability: float = 0.9
    usual: Tensor = field(init=False)
    _detected: Tensor = field(init=False)

    def count(self, batches: Iterable[np.ndarray]) -> None:
        """Learn from the training cells' tokens ``(B, T)`` which genes are expressed, and in which bin mostly.

        Raises
        ------
        ArgumentError
            If none is.
        """
        counts = np.zeros((N_BINS, len(self.positions)), dtype=np.int64)
        for tokens in batches:
            for number in range(1, N_BINS):
                counts[number] += (tokens == number).sum(axis=0)
        detected = np.flatnonzero(counts[1:].any(axis=0))
        if not len(detected):
            msg = (
                "The training cells express none of the encoder's genes: there is nothing to learn from. "
                "Train on other cells, or name genes of the data (`genes=`)."
            )
            raise ArgumentError(msg)
        usual = counts[1:].argmax(axis=0) + 1
        usual[~counts[1:].any(axis=0)] = counts[1:].sum(axis=1).argmax() + 1
        self.usual = torch.from_numpy(usual)
        self._detected = torch.from_numpy(detected)

    def mask(self, tokens: np.ndarray, generator: torch.Generator) -> MaskedBatch:
        """A step on cells with ``tokens (B, T)``; randomness comes from ``generator``, on the CPU."""
        columns = self._detected
        if len(columns) > self.max_genes:
            drawn = torch.randperm(len(columns), generator=generator)[: self.max_genes]
            columns = columns[drawn.sort().values]
        true = torch.from_numpy(tokens[:, columns.numpy()])
        masked, chosen = mask_expressed(
            true, generator, mask_fraction=self.mask_fraction, replace_probability=self.replace_probability
        )
        positions = torch.from_numpy(self.positions)[columns]
        return MaskedBatch(masked, true.masked_fill(~chosen, 0), positions, self.usual[columns])
