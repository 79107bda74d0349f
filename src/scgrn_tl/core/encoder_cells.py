"""Cells as an encoder reads them, for methods that train the encoder along with what comes after it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import ArgumentError

__all__ = ["EncoderCells"]


@dataclass(frozen=True, eq=False)
class EncoderCells:
    """An encoder, and a sample of the cells whose hidden states were pooled to a task's gene embedding.

    Attributes
    ----------
    encoder
        The encoder, a :class:`scgrn_tl.models.ScBERT`; nothing changes it.
    tokens
        ``uint8 (n, T)``, expression bins of n cells.
    positions
        ``int64 (T,)``, every column's position in the encoder's vocabulary.
    genes
        ``int64 (T,)``, every column's gene in the task; −1 for a gene that the task does not have.
    weights
        ``float32 (n, T)``, what every cell weighs in the pooling of every gene: its attention sums, or ones.
    """

    encoder: Any
    tokens: np.ndarray
    positions: np.ndarray
    genes: np.ndarray
    weights: np.ndarray

    def __post_init__(self) -> None:
        if self.tokens.ndim != 2 or 0 in self.tokens.shape:
            msg = f"tokens is cells × genes, at least one of each: got shape {self.tokens.shape}."
            raise ArgumentError(msg)
        n_columns = self.tokens.shape[1]
        expected = {"positions": (n_columns,), "genes": (n_columns,), "weights": self.tokens.shape}
        for name, shape in expected.items():
            if (found := np.shape(getattr(self, name))) != shape:
                msg = f"{name} has shape {found}; expected {shape} beside tokens of shape {self.tokens.shape}."
                raise ArgumentError(msg)
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all() and (self.weights.sum(axis=0) > 0).all()):
            msg = (
                "weights has to be finite and not negative, and every gene has to have some. "
                "Leave out genes that have none."
            )
            raise ArgumentError(msg)

    def __repr__(self) -> str:
        return f"EncoderCells({len(self.tokens):,} cells × {self.tokens.shape[1]:,} genes, {self.encoder!r})"
