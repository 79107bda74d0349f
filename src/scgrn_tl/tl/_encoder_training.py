"""What an encoder is trained on, how, and how large it is."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from scgrn_tl.core import ArgumentError, ExpressionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._cell_groups import CellGroups
    from ._token_stream import Expression

__all__ = ["EncoderShape", "EncoderTraining", "TrainingCells"]

GENE_INITS = ("svd", "skipgram", "random")


@dataclass(frozen=True)
class EncoderShape:
    """Size of a new encoder and what its gene vectors start from; see :class:`scgrn_tl.models.ScBERTModel`."""

    gene_init: Literal["svd", "skipgram", "random"] = "svd"
    dim: int = 64
    depth: int = 2
    heads: int = 4
    dim_head: int = 16

    def __post_init__(self) -> None:
        if self.gene_init not in GENE_INITS:
            msg = f"gene_init is one of {', '.join(map(repr, GENE_INITS))}, not {self.gene_init!r}."
            raise ArgumentError(msg)
        _check_whole_numbers(self, "dim", "depth", "heads", "dim_head")
        if self.dim % self.heads:
            msg = f"dim is a multiple of heads; dim={self.dim} and heads={self.heads} are not."
            raise ArgumentError(msg)


@dataclass(frozen=True)
class EncoderTraining:
    """How an encoder is trained; the defaults take seconds for a thousand genes on two CPU cores.

    Attributes
    ----------
    max_epochs, batch_size, learning_rate, patience, max_genes, train_blocks
        See :meth:`scgrn_tl.models.ScBERTModel.train`.
    validation_fraction
        Share of the cells held out.
    max_cells
        Most cells that are trained on, a random part of them where there are more.
    """

    max_epochs: int | None = None
    batch_size: int = 4
    learning_rate: float = 3e-3
    patience: int = 3
    validation_fraction: float = 0.1
    max_genes: int = 1024
    max_cells: int = 1024
    train_blocks: int | None = None

    def __post_init__(self) -> None:
        _check_whole_numbers(self, "batch_size", "patience", "max_genes")
        if self.max_epochs is not None:
            _check_whole_numbers(self, "max_epochs")
        if not isinstance(self.max_cells, (int, np.integer)) or self.max_cells < 2:
            msg = f"max_cells is a whole number of at least 2, not {self.max_cells!r}."
            raise ArgumentError(msg)
        if not 0 < self.learning_rate < np.inf:
            msg = f"learning_rate is positive and finite, not {self.learning_rate!r}."
            raise ArgumentError(msg)
        if not 0 < self.validation_fraction < 1:
            msg = f"validation_fraction is a share between 0 and 1, not {self.validation_fraction!r}."
            raise ArgumentError(msg)
        if self.train_blocks is not None and (
            not isinstance(self.train_blocks, (int, np.integer)) or self.train_blocks < 0
        ):
            msg = f"train_blocks is a number of blocks, or None for the whole encoder; not {self.train_blocks!r}."
            raise ArgumentError(msg)


def _check_whole_numbers(values: EncoderShape | EncoderTraining, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            msg = f"{name} is a whole number of at least 1, not {value!r}."
            raise ArgumentError(msg)


@dataclass(frozen=True, eq=False)
class TrainingCells:
    """Cells to train on: expression as stored, ``float64 (n, G)`` CSR, whether it is of counts, and their batches."""

    values: Any
    normalize: bool
    var_names: list[str]
    batches: np.ndarray | None

    @classmethod
    def draw(
        cls, expression: Expression, var_names: Sequence[str], batches: CellGroups | None, max_cells: int, seed: int
    ) -> TrainingCells:
        usable = ~expression.empty_cells
        if batches is not None:
            usable &= batches.codes >= 0
        cells = np.flatnonzero(usable)
        if len(cells) < 2:
            msg = f"Training an encoder needs at least two cells with counts; there are {len(cells)}."
            raise ExpressionError(msg)
        if len(cells) > max_cells:
            chosen = np.random.default_rng(seed).choice(len(cells), max_cells, replace=False)
            cells = cells[np.sort(chosen)]
        names = None if batches is None else np.array(batches.names, dtype=object)[batches.codes[cells]]
        return cls(expression.sample(cells), expression.normalize, list(map(str, var_names)), names)

    def register(self) -> Any:
        """An AnnData of these cells, set up for :class:`ScBERTModel`; nobody else's."""
        import pandas as pd
        from anndata import AnnData

        from scgrn_tl.models import ScBERTModel

        obs = pd.DataFrame(index=pd.RangeIndex(self.values.shape[0]).astype(str))
        if self.batches is not None:
            obs["batch"] = pd.Categorical(self.batches)
        adata = AnnData(self.values, obs=obs, var=pd.DataFrame(index=self.var_names))
        batch_key = None if self.batches is None else "batch"
        with warnings.catch_warnings():  # scvi-tools' word on a small batch names columns that are not the user's
            warnings.filterwarnings("ignore", message="Category .* has fewer than 3 cells")
            ScBERTModel.setup_anndata(adata, batch_key=batch_key, normalize=self.normalize)
        return adata
