r"""Bayesian blocks: each gene's values cut into as many bins, as wide as its own distribution asks for.

Scargle et al. 2013, for event data. A cell's value is an event; a block that holds :math:`N` of a gene's cells over a
width :math:`w` has the log-likelihood :math:`N \log(N / w)`, and every block costs a prior. A dynamic programme finds
the partition of the highest sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.parallel import parallel_map

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["BinnedGenes", "bin_genes", "block_prior"]

FALSE_POSITIVES = 0.05
"""Share of change points that chance alone may put in, to which the prior is calibrated."""

BATCH_VALUES = 2**16
"""Values per step of the genes worked on together: they stay in the processor's cache."""

SMALL_WORK = 2**29
"""Candidate blocks up to which other processes take longer to start than the work itself."""


@dataclass(frozen=True, eq=False)
class BinnedGenes:
    """The bin of every gene in every cell.

    Attributes
    ----------
    codes
        ``int32[G, N]``, the gene's bin in the cell, counted from 0 upwards with the expression. Every bin has cells.
    n_bins
        ``int64[G]``; 1 for a gene that does not vary.
    """

    codes: NDArray[np.int32]
    n_bins: NDArray[np.int64]

    @property
    def n_cells(self) -> int:
        """Number of cells N."""
        return self.codes.shape[1]

    @property
    def starts(self) -> NDArray[np.int64]:
        """``int64[G]``, where each gene's bins start when the bins of all genes are laid end to end."""
        return np.cumsum(self.n_bins) - self.n_bins

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, genes: slice | NDArray[np.int64]) -> BinnedGenes:
        return BinnedGenes(self.codes[genes], self.n_bins[genes])

    def blocks(self, max_bins: int) -> Iterator[slice]:
        """Runs of genes that have no more than ``max_bins`` bins together, or are a single gene."""
        start, held = 0, 0
        for gene, n_bins in enumerate(self.n_bins.tolist()):
            if gene > start and held + n_bins > max_bins:
                yield slice(start, gene)
                start, held = gene, 0
            held += n_bins
        if len(self):
            yield slice(start, len(self))


def bin_genes(expression: np.ndarray, *, n_jobs: int | None = None) -> BinnedGenes:
    """Bin each gene by Bayesian blocks.

    Between two neighbouring values that occur, a bin may end half-way. The time of a gene grows with the square of the
    number of its different values.

    Parameters
    ----------
    expression
        ``float32[G, N]``, genes × cells, finite.
    n_jobs
        See :func:`scgrn_tl.core.parallel.parallel_map`. The bins do not depend on it.

    Returns
    -------
    The bins of all genes.
    """
    values = np.asarray(expression, dtype=np.float32)  # in float64, half-way between two of these lies off both
    n_values = np.array([len(np.unique(row)) for row in values], dtype=np.int64)
    # genes with as many values go through the programme side by side
    order = np.argsort(n_values, kind="stable")
    parts, first = [], 0
    while first < len(order):
        last = first + 1
        while last < len(order) and (last + 1 - first) * n_values[order[last]] <= BATCH_VALUES:
            last += 1
        parts.append(order[first:last])
        first = last
    codes = np.empty(values.shape, dtype=np.int32)
    n_bins = np.empty(len(values), dtype=np.int64)
    n_jobs = 1 if (n_values**2).sum() <= SMALL_WORK else n_jobs
    batches = parallel_map(_bin_batch, parts, values, n_jobs=n_jobs, description="Bayesian blocks")
    for genes, (codes_of_part, n_bins_of_part) in zip(parts, batches, strict=True):
        codes[genes], n_bins[genes] = codes_of_part, n_bins_of_part
    return BinnedGenes(codes, n_bins)


def block_prior(n_values: int) -> float:
    """What a block costs when the ``n_values`` lowest values are partitioned (Scargle et al. 2013, equation 21)."""
    return float(4 - np.log(73.53 * FALSE_POSITIVES * n_values**-0.478))


def _bin_batch(genes: NDArray[np.int64], values: np.ndarray) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Codes and numbers of bins of some genes."""
    found = [np.unique(row, return_inverse=True, return_counts=True) for row in values[genes]]
    lengths = [len(unique) for unique, _, _ in found]
    counts = np.zeros((len(genes), max(lengths)))
    edges = np.zeros((len(genes), max(lengths) + 1))
    for row, (unique, _, count) in enumerate(found):
        unique = unique.astype(np.float64)
        counts[row, : len(unique)] = count
        edges[row, : len(unique) + 1] = np.concatenate([unique[:1], (unique[1:] + unique[:-1]) / 2, unique[-1:]])
    last_starts = _last_block_starts(counts, edges)
    codes = np.empty((len(genes), values.shape[1]), dtype=np.int32)
    n_bins = np.empty(len(genes), dtype=np.int64)
    for row, (unique, inverse, _) in enumerate(found):
        opens = np.zeros(len(unique), dtype=np.int32)
        end = len(unique)
        while end > 0:  # from the last block back to the first
            end = last_starts[row, end - 1]
            opens[end] = 1
        codes[row] = (np.cumsum(opens, dtype=np.int32) - 1)[inverse]
        n_bins[row] = opens.sum()
    return codes, n_bins


def _last_block_starts(counts: np.ndarray, edges: np.ndarray) -> NDArray[np.int64]:
    """Where the last block of the best partition of each gene's first 1, 2, … values starts.

    Genes with fewer values than others are padded at the end; what comes out there means nothing.
    """
    n_genes, n_values = counts.shape
    below = np.zeros((n_genes, n_values + 1))
    np.cumsum(counts, axis=1, out=below[:, 1:])
    best = np.zeros((n_genes, n_values + 1))  # fitness of the best partition of so many values
    starts = np.zeros((n_genes, n_values), dtype=np.int64)
    rows = np.arange(n_genes)
    with np.errstate(divide="ignore", invalid="ignore"):  # a constant gene and the padding have no width
        for end in range(1, n_values + 1):
            n_cells = below[:, end, None] - below[:, :end]  # (genes, starts)
            fitness = n_cells / (edges[:, end, None] - edges[:, :end])
            np.log(fitness, out=fitness)
            fitness *= n_cells
            fitness += best[:, :end]
            starts[:, end - 1] = fitness.argmax(axis=1)
            best[:, end] = fitness[rows, starts[:, end - 1]] - block_prior(end)
    return starts
