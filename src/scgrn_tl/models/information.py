r"""Information that genes hold about each other, in bits, from the bins of their expression.

With :math:`p` the share of cells, the specific information of a source :math:`x` about a bin :math:`k` of a target
:math:`z` is

.. math:: I(z_k; x) = \sum_j p(x_j \mid z_k) \log_2 \frac{p(x_j, z_k)}{p(x_j)\, p(z_k)},

which is never negative, and its mean over the target's bins is the mutual information
:math:`I(x; z) = \sum_k p(z_k)\, I(z_k; x)`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.parallel import parallel_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .bayesian_blocks import BinnedGenes

__all__ = ["mutual_information", "proportional_unique_contribution", "specific_information"]

BLOCK_VALUES = 2**20
"""Values of the largest array of a block: 8 MiB."""

MAX_BLOCK_BINS = 512
"""Bins of targets in a block, at most: enough for matrix products at full speed, few enough to share blocks out."""

ROUNDING = 1e-12
"""Of the largest sum of shares: less than that is 0 but for rounding, which the logarithms of a fit would see."""

SMALL_WORK = 2**34
"""Bins × bins × cells up to which other processes take longer to start than the work itself."""


def specific_information(sources: BinnedGenes, targets: BinnedGenes) -> NDArray[np.float64]:
    """What each source says about each bin of each target.

    Parameters
    ----------
    sources
        S genes.
    targets
        Genes of the same cells.

    Returns
    -------
    ``float64[B, S]``, the bins of all targets laid end to end. Exactly 0 where the source does not vary.
    """
    n_cells = targets.n_cells
    in_bins = _one_hot(targets)  # (B, N)
    of_target = in_bins.sum(axis=1, dtype=np.float64)[:, None]
    information = np.empty((len(in_bins), len(sources)))
    for block in sources.blocks(max(1, BLOCK_VALUES // max(n_cells, len(in_bins)))):
        in_source_bins = _one_hot(sources[block])  # (J, N)
        of_source = in_source_bins.sum(axis=1, dtype=np.float64)
        both = (in_bins @ in_source_bins.T).astype(np.float64)  # (B, J), whole numbers: exact in any order
        # Where no cell has both bins, the factor before the logarithm is 0. The ratio of independent bins is exactly 1.
        terms = np.maximum(both, 1)
        terms *= n_cells
        terms /= of_target * of_source
        np.log2(terms, out=terms)
        terms *= both
        terms /= of_target
        information[:, block] = np.add.reduceat(terms, sources[block].starts, axis=1)
    return np.maximum(information, 0, out=information)  # below 0 by rounding only


def mutual_information(sources: BinnedGenes, targets: BinnedGenes, *, n_jobs: int | None = None) -> NDArray[np.float32]:
    """Mutual information of each source and each target.

    Parameters
    ----------
    sources
        S genes.
    targets
        T genes of the same cells.
    n_jobs
        See :func:`scgrn_tl.core.parallel.parallel_map`. The result does not depend on it.

    Returns
    -------
    ``float32[S, T]``, computed in float64, in bits.
    """
    result = np.empty((len(sources), len(targets)), dtype=np.float32)
    for block, information in _over_targets(_mean_over_bins, sources, targets, n_jobs, "Mutual information"):
        result[:, block] = information.T
    return result


def proportional_unique_contribution(genes: BinnedGenes, *, n_jobs: int | None = None) -> NDArray[np.float64]:
    r"""Share of the information of two genes that no third gene has, summed over all third genes (PUC).

    With a target :math:`z` and the sources :math:`x` and :math:`y`, the redundant information is
    :math:`R_z(x, y) = \sum_k p(z_k) \min(I(z_k; x), I(z_k; y))`, and

    .. math:: \mathrm{PUC}_{xz} = \sum_{y \ne x, z} \frac{I(x; z) - R_z(x, y)}{I(x; z)}
        + \frac{I(x; z) - R_x(z, y)}{I(x; z)}.

    No minimum exceeds :math:`I(z_k; x)`, so no term is negative and the sum can be taken over the minima. In a list of
    the sources ranked by :math:`I(z_k; \cdot)`, the sum of :math:`\min(I(z_k; x), I(z_k; y))` over all :math:`y` is a
    running sum up to :math:`x` plus its own value for every :math:`y` above: one sort a bin takes the place of a pass
    over all pairs, and the time grows with the square of the number of genes instead of its cube.

    Parameters
    ----------
    genes
        G genes.
    n_jobs
        See :func:`scgrn_tl.core.parallel.parallel_map`. The result does not depend on it.

    Returns
    -------
    ``float64[G, G]``, symmetric, between 0 and 2 (G − 2); 0 where two genes have no information in common, and for a
    gene with itself.
    """
    unique = np.empty((len(genes), len(genes)))
    for block, shares in _over_targets(_unique_shares, genes, genes, n_jobs, "PIDC"):
        unique[block] = shares
    np.fill_diagonal(unique, 0)
    return unique + unique.T


def _over_targets(
    function: Callable[[slice, BinnedGenes, BinnedGenes], np.ndarray],
    sources: BinnedGenes,
    targets: BinnedGenes,
    n_jobs: int | None,
    description: str,
) -> zip[tuple[slice, np.ndarray]]:
    """``function(block, sources, targets)`` of blocks of targets, and the blocks."""
    largest = max(len(sources), targets.n_cells)
    blocks = list(targets.blocks(min(MAX_BLOCK_BINS, max(1, BLOCK_VALUES // largest))))
    work = int(sources.n_bins.sum()) * int(targets.n_bins.sum()) * targets.n_cells
    n_jobs = 1 if work <= SMALL_WORK else n_jobs
    return zip(
        blocks, parallel_map(function, blocks, sources, targets, n_jobs=n_jobs, description=description), strict=True
    )


def _mean_over_bins(block: slice, sources: BinnedGenes, targets: BinnedGenes) -> NDArray[np.float64]:
    """Mutual information of a block of targets and each source: ``float64[T, S]``."""
    of_block = targets[block]
    return _weighted(specific_information(sources, of_block), of_block)


def _unique_shares(block: slice, sources: BinnedGenes, targets: BinnedGenes) -> NDArray[np.float64]:
    """Share of a source's information about a target that a third gene has not, summed over them: ``float64[T, S]``."""
    of_block = targets[block]
    information = specific_information(sources, of_block)  # (B, S)
    order = np.argsort(information, axis=1)
    ranked = np.take_along_axis(information, order, axis=1)
    n_above = np.arange(len(sources))[::-1]
    minima = np.empty_like(information)
    np.put_along_axis(minima, order, np.cumsum(ranked, axis=1) + ranked * n_above, axis=1)
    # Neither the source nor the target is a third gene. A target's bin is known best by the target itself, so that with
    # either of them the minimum is the source's own value.
    minima -= 2 * information
    shared = _weighted(information, of_block)  # (T, S)
    redundant = _weighted(minima, of_block)
    n_third = max(0, len(sources) - 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(shared > 0, n_third - redundant / shared, 0)
    shares[shares < ROUNDING * n_third] = 0
    return shares


def _weighted(of_bins: NDArray[np.float64], genes: BinnedGenes) -> NDArray[np.float64]:
    """Mean over each gene's bins, by their share of cells: ``float64[B, S]`` to ``float64[T, S]``."""
    shares = np.concatenate([np.bincount(row) for row in genes.codes]) / genes.n_cells
    return np.add.reduceat(of_bins * shares[:, None], genes.starts, axis=0)


def _one_hot(genes: BinnedGenes) -> NDArray[np.floating]:
    """``[B, N]``, 1 where the cell is in the bin."""
    dtype = np.float32 if genes.n_cells < 2**24 else np.float64  # up to which float32 counts exactly
    indicator = np.zeros((int(genes.n_bins.sum()), genes.n_cells), dtype=dtype)
    indicator[genes.starts[:, None] + genes.codes, np.arange(genes.n_cells)] = 1
    return indicator
