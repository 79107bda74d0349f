"""What a GRN method is given, and what it gives back."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .errors import ArgumentError, SplitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .encoder_cells import EncoderCells
    from .network import PriorNetwork
    from .split import EdgeSplit, LabeledPairs

__all__ = ["GRNScores", "GRNTask"]

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class GRNTask:
    """All that a GRN method may see.

    Test pairs never get in: the constructor empties the split's test part, and keeps of the prior only those edges that
    are training positives, so there is no path by which a test label can reach a method.

    Attributes
    ----------
    expression
        ``float32[G, N]``, genes × cells; a sparse array where there are many cells, for methods that say that they can
        read one (:attr:`scgrn_tl.methods.Method.reads_sparse`). All others get a dense array.
    genes
        The G gene names.
    regulators
        ``int64[R]``, ascending gene indices of the regulators to score.
    prior
        The prior restricted to training positives: the graph that may carry messages. ``None`` for methods without one.
    split
        Training and validation pairs; its test part is empty. ``None`` for methods without supervision.
    embedding
        ``float32[G, D]`` gene embedding, NaN rows where a gene has none; ``None`` if not used.
    seed
        Seed of everything random in the method.
    device
        Name of the torch device to compute on.
    n_jobs
        Processes that a method may spread independent work over; ``None`` for :attr:`scgrn_tl.settings.n_jobs`.
    pseudotime
        ``float64[N, L]``, pseudotime of each cell on each of L lineages, NaN for cells that are not on it; ``None``
        where no method asks for one.
    prepared
        What the method computed of this expression beforehand, without any label (see
        :attr:`scgrn_tl.methods.Method.prepare`); ``None`` where nothing was.
    cells
        Cells that ``embedding`` was pooled over and their encoder, for a method that trains the encoder along; ``None``
        where the embedding stays as it is.
    embedding_widths
        Where ``embedding`` is several side by side, the width of each, D in all; empty for a single one.
    """

    expression: Any
    genes: tuple[str, ...]
    regulators: np.ndarray
    prior: PriorNetwork | None = None
    split: EdgeSplit | None = None
    embedding: np.ndarray | None = None
    seed: int = 0
    device: str = "cpu"
    n_jobs: int | None = None
    pseudotime: np.ndarray | None = None
    prepared: Mapping[str, np.ndarray] | None = None
    cells: EncoderCells | None = None
    embedding_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        n_genes = len(self.genes)
        if self.expression.ndim != 2 or self.expression.shape[0] != n_genes:
            msg = f"expression is genes × cells: got shape {self.expression.shape} for {n_genes} genes."
            raise ArgumentError(msg)
        if self.embedding is not None and (self.embedding.ndim != 2 or len(self.embedding) != n_genes):
            msg = f"embedding is genes × dimensions: got shape {self.embedding.shape} for {n_genes} genes."
            raise ArgumentError(msg)
        if self.embedding_widths and (self.embedding is None or sum(self.embedding_widths) != self.embedding.shape[1]):
            of = None if self.embedding is None else self.embedding.shape
            msg = f"embedding_widths={self.embedding_widths} do not add up to the width of an embedding of shape {of}."
            raise ArgumentError(msg)
        if self.cells is not None and (self.embedding is None or max(self.cells.genes) >= n_genes):
            msg = f"cells are of the gene embedding's encoder: give `embedding`, and gene indices below {n_genes}."
            raise ArgumentError(msg)
        if self.pseudotime is not None:
            object.__setattr__(self, "pseudotime", _lineages(self.pseudotime, self.expression.shape[1]))
        regulators = np.unique(np.asarray(self.regulators, dtype=np.int64))
        if not len(regulators) or regulators[0] < 0 or regulators[-1] >= n_genes:
            msg = (
                f"regulators are gene indices below {n_genes}, at least one. "
                "Name genes by `tf_names=` where the task is made from an AnnData (`sg.core.make_task`)."
            )
            raise ArgumentError(msg)
        object.__setattr__(self, "regulators", regulators)
        if self.split is not None:
            self.split.check_genes(self.genes)
            if not np.isin(self.split.regulators, regulators).all():
                msg = (
                    "The split has pairs of regulators that are not among those to score. "
                    "Name them by `tf_names=`, or make the split of fewer."
                )
                raise SplitError(msg)
            object.__setattr__(self, "split", self.split.without_test())
            if self.prior is not None:
                object.__setattr__(self, "prior", self.prior.restrict_to(self.split.train.positives))

    @property
    def n_genes(self) -> int:
        """Number of genes G."""
        return len(self.genes)

    def with_dense_expression(self) -> GRNTask:
        """The same task with expression as a dense array; itself if it is one."""
        if not sparse.issparse(self.expression):
            return self
        LOGGER.info("Expression becomes a dense array of %.1f GiB.", 4 * np.prod(self.expression.shape) / 2**30)
        return replace(self, expression=self.expression.toarray(order="C"))

    def without_supervision(self) -> GRNTask:
        """The same task without prior and split: expression, embedding and what was drawn or set beside them."""
        return replace(self, prior=None, split=None)

    def supervision(self) -> tuple[LabeledPairs, LabeledPairs]:
        """Training and validation pairs, or an error for a method that needs them and was given none."""
        if self.split is None or not len(self.split.train):
            msg = "This method learns from a prior network: give one (`prior=`)."
            raise SplitError(msg)
        return self.split.train, self.split.validation

    def __repr__(self) -> str:
        return (
            f"GRNTask({self.n_genes:,} genes × {self.expression.shape[1]:,} cells, "
            f"{len(self.regulators):,} regulators, prior={self.prior!r}, split={self.split!r}, "
            f"embedding={None if self.embedding is None else self.embedding.shape}, seed={self.seed})"
        )


def _lineages(pseudotime: np.ndarray, n_cells: int) -> np.ndarray:
    """Pseudotime as ``float64[N, L]``, checked."""
    values = np.asarray(pseudotime, dtype=np.float64)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) != n_cells:
        msg = f"pseudotime is cells × lineages: got shape {values.shape} for {n_cells} cells."
        raise ArgumentError(msg)
    for number, lineage in enumerate(values.T, start=1):
        known = lineage[~np.isnan(lineage)]
        problems = {
            "has a value in fewer than two cells": len(known) < 2,
            "is infinite somewhere": not np.isfinite(known).all(),
            "is negative somewhere": bool((known < 0).any()),
            "is the same in all its cells": len(np.unique(known)) == 1,
        }
        if found := [problem for problem, holds in problems.items() if holds]:
            msg = (
                f"The pseudotime of lineage {number} {found[0]}. "
                "Give another column by `pseudotime=`, with NaN in cells outside of the lineage."
            )
            raise ArgumentError(msg)
    return values


@dataclass(frozen=True, eq=False)
class GRNScores:
    """A score for every pair of a regulator and a gene.

    Attributes
    ----------
    regulators
        ``int64[R]``, gene index of each row.
    matrix
        ``float32[R, G]``: the higher, the likelier that the row's regulator regulates the column's gene. A logit where
        ``is_logit``.
    hub
        ``float32[R, G]``, the part of ``matrix`` that the two genes' hub rates explain (base rate, regulator term,
        target term); ``None`` where a method does not tell the two apart.
    std
        ``float32[R, G]``, spread of ``matrix`` over an ensemble; ``None`` for a single model.
    is_logit
        Whether ``matrix`` is on the log-odds scale.
    history
        Training record: name → one value per epoch. Empty for methods that do not train.
    details
        What else is worth keeping (chosen form, best epoch); plain values only.
    model
        The fitted model, where there is one.
    attention
        Sparse ``float32[G, G]``: how much the column's gene attends to the message from the row's gene, where messages
        run along the prior network; each column sums to 1. ``None`` for methods without such attention.
    """

    regulators: np.ndarray
    matrix: np.ndarray
    hub: np.ndarray | None = None
    std: np.ndarray | None = None
    is_logit: bool = False
    history: Mapping[str, list[float]] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    model: Any = None
    attention: Any = None

    def __post_init__(self) -> None:
        regulators = np.asarray(self.regulators, dtype=np.int64)
        object.__setattr__(self, "regulators", regulators)
        for name in ("matrix", "hub", "std"):
            value = getattr(self, name)
            if value is None:
                continue
            value = np.asarray(value, dtype=np.float32)
            if value.ndim != 2 or value.shape[0] != len(regulators) or value.shape != np.shape(self.matrix):
                msg = f"{name} is regulators × genes: got shape {value.shape} for {len(regulators)} regulators."
                raise ArgumentError(msg)
            object.__setattr__(self, name, value)

    def at(self, pairs: np.ndarray) -> np.ndarray:
        """``float32[P]``, the scores of ``pairs`` (``int64[P, 2]`` gene indices)."""
        return self.matrix[self.rows_of(pairs[:, 0]), pairs[:, 1]]

    def rows_of(self, genes: np.ndarray) -> np.ndarray:
        """Row of ``matrix`` of each regulator given by gene index."""
        order = np.argsort(self.regulators)
        found = np.searchsorted(self.regulators, genes, sorter=order)
        rows = order[np.minimum(found, len(order) - 1)]
        if not np.array_equal(self.regulators[rows], genes):
            msg = "Some pairs have a regulator that was not scored. Name it by `tf_names=` as well."
            raise ArgumentError(msg)
        return rows

    def __repr__(self) -> str:
        return f"GRNScores({self.matrix.shape[0]:,} regulators × {self.matrix.shape[1]:,} genes)"
