"""Absolute Pearson correlation of a regulator's and a gene's expression over cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.task import GRNScores

from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNTask

__all__ = ["pearson"]

BLOCK_VALUES = 2**24
"""Values of a block of genes held as float64 at a time: 128 MiB."""


@method(name="pearson", supervised=False, directed=False, stochastic=False, reference="Pearson 1895")
def pearson(task: GRNTask) -> GRNScores:
    """Absolute Pearson correlation over cells.

    A gene whose expression is the same in every cell gets 0, and so does a regulator with itself.

    Parameters
    ----------
    task
        Only ``expression`` and ``regulators`` are read.

    Returns
    -------
    ``|r|``, between 0 and 1. Blocks of genes are held against the regulators; nothing of size genes × genes is made.
    """
    expression, regulators = task.expression, task.regulators
    n_genes, n_cells = expression.shape
    of_regulators = _unit_rows(expression[regulators])  # (R, N)
    matrix = np.empty((len(regulators), n_genes), dtype=np.float32)  # (R, G)
    step = max(1, BLOCK_VALUES // max(1, n_cells))
    for start in range(0, n_genes, step):
        block = slice(start, start + step)
        matrix[:, block] = np.abs(of_regulators @ _unit_rows(expression[block]).T)
    np.minimum(matrix, 1, out=matrix)  # rounding can exceed 1 by an ulp
    matrix[np.arange(len(regulators)), regulators] = 0
    return GRNScores(regulators, matrix)


def _unit_rows(expression: np.ndarray) -> np.ndarray:
    """Centre every row and scale it to length 1; a constant row becomes zero."""
    values = expression.astype(np.float64)
    # Found before centring: a mean that is rounded leaves noise where a constant row should leave zero.
    constant = values.max(axis=1, initial=-np.inf) == values.min(axis=1, initial=np.inf)
    values -= values.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(values, axis=1)
    norms[constant | (norms == 0)] = np.inf
    values /= norms[:, None]
    return values
