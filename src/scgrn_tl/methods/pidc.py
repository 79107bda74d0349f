"""PIDC: how much two genes tell about each other that third genes do not, seen against either gene's other partners."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.task import GRNScores

from ._registry import method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from scgrn_tl.core.task import GRNTask

__all__ = ["network_context", "pidc"]

LOGGER = logging.getLogger(__name__)

EQUAL = 1e-9
"""Relative difference below which scores differ by rounding only."""


def _check(*, max_genes: int = 5_000) -> None:
    if max_genes < 1:
        msg = f"max_genes is a whole number of at least 1, not {max_genes!r}."
        raise ArgumentError(msg)


@method(name="pidc", supervised=False, directed=False, stochastic=False, reference="Chan et al. 2017", check=_check)
def pidc(task: GRNTask, *, max_genes: int = 5_000) -> GRNScores:
    """Partial information decomposition with context (PIDC).

    Genes are binned by Bayesian blocks. For two genes and every third, the part of their mutual information that the
    third has not is summed (:func:`scgrn_tl.models.information.proportional_unique_contribution`); the weight of a pair
    is that sum's place in the gamma distribution fitted to all sums of the one gene, plus the same for the other. On
    the test data of NetworkInference.jl the weights are its own to 1e-12.

    Where this differs from it, each for a reason: minima over pairs of sources are summed after a sort, which gives the
    same numbers in a time that grows with the square of the number of genes, not its cube; a sum of 0, as of a gene
    that does not vary, stays out of the gamma fits, which have no place for it; and if a gene has no two different sums
    to fit to, all pairs are weighted by their z-scores, not this gene's pairs alone, so that a network has one scale.

    All genes of the task take part as third genes, not the regulators alone. Two or three arrays of genes × genes are
    held: 5,000 genes need 0.6 GiB, and with 2,000 cells some minutes on one core.

    Parameters
    ----------
    task
        Only ``expression``, ``regulators`` and ``n_jobs`` are read.
    max_genes
        Refuse more genes than that, rather than fill the memory.

    Returns
    -------
    Weights from 0 to 2, or z-scores; 0 for a gene whose expression is the same in every cell, for a regulator with
    itself, and for all pairs if there are only two genes. ``details["context"]`` is ``"gamma"`` or ``"z-score"``.

    Raises
    ------
    ArgumentError
        If there are more than ``max_genes`` genes.
    """
    from scgrn_tl.models.bayesian_blocks import bin_genes
    from scgrn_tl.models.information import proportional_unique_contribution

    if task.n_genes > max_genes:
        msg = (
            f"PIDC holds every pair of genes: {task.n_genes:,} genes, more than max_genes={max_genes:,}, need about "
            f"{task.n_genes**2 * 24 / 2**30:.2g} GiB. Keep the regulators and the highly variable genes, "
            '`adata[:, adata.var["highly_variable"] | adata.var_names.isin(regulators)]`, or raise max_genes.'
        )
        raise ArgumentError(msg)
    genes = bin_genes(task.expression, n_jobs=task.n_jobs)
    sums = proportional_unique_contribution(genes, n_jobs=task.n_jobs)  # (G, G)
    matrix, context = network_context(sums, task.regulators)
    return GRNScores(task.regulators, matrix, details={"context": context})


def network_context(sums: NDArray[np.float64], regulators: NDArray[np.int64]) -> tuple[NDArray[np.float32], str]:
    """Weight of each regulator's pairs against all other pairs of either gene.

    Parameters
    ----------
    sums
        ``float64[G, G]``, symmetric and not negative: a score of each pair.
    regulators
        ``int64[R]``, gene indices.

    Returns
    -------
    ``float32[R, G]``, 0 for a gene with itself, and how it was made: ``"gamma"`` or, where a gene has a score but no
    two different ones, ``"z-score"``.
    """
    of_genes = _gamma_fits(sums)
    weights = np.empty((len(regulators), len(sums)), dtype=np.float32)
    if of_genes is None:
        LOGGER.info("PIDC: a gene has no two different scores to fit a gamma distribution to; z-scores are used.")
        centres, spreads = _moments(sums)
        for row, regulator in enumerate(regulators):
            z = [np.maximum(0, (sums[regulator] - centres[g]) / spreads[g]) for g in (regulator, slice(None))]
            weights[row] = np.hypot(*z)
    else:
        from scipy.special import gammainc

        shapes, scales = of_genes
        for row, regulator in enumerate(regulators):
            places = (gammainc(shapes[g], sums[regulator] / scales[g]) for g in (regulator, slice(None)))
            weights[row] = sum(places)
    weights[np.arange(len(regulators)), regulators] = 0
    return weights, "gamma" if of_genes is not None else "z-score"


def _gamma_fits(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Shape and scale of the gamma distribution of each gene's positive scores; ``None`` if one has no two of them."""
    from scipy.stats import gamma

    fits: list[Sequence[float]] = []
    for row in sums:
        positive = row[row > 0]
        if not len(positive):
            fits.append((1.0, 1.0))  # 0 has its place at 0 in any of them
            continue
        if np.ptp(positive) <= EQUAL * positive.max():
            return None
        shape, _, scale = gamma.fit(positive, floc=0)
        fits.append((shape, scale))
    shapes, scales = np.array(fits).T
    return shapes, scales


def _moments(sums: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each gene's scores with all others; a spread of none is infinite."""
    n_others = max(1, len(sums) - 1)
    centres = sums.sum(axis=1) / n_others  # the diagonal is 0 and no score
    squares = (sums - centres[:, None]) ** 2
    np.fill_diagonal(squares, 0)
    spreads = np.sqrt(squares.sum(axis=1) / max(1, n_others - 1))
    spreads[spreads <= EQUAL * centres] = np.inf
    return centres, spreads
