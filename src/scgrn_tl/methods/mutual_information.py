"""Mutual information of a regulator's and a gene's binned expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.task import GRNScores

from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNTask

__all__ = ["mutual_information"]


@method(name="mutual_information", supervised=False, directed=False, stochastic=False, reference="Chan et al. 2017")
def mutual_information(task: GRNTask) -> GRNScores:
    """Mutual information of binned expression.

    Each gene is binned by Bayesian blocks, and probabilities are shares of cells: the mutual information of
    NetworkInference.jl, which PIDC builds on. Tables of two genes' bins are made for blocks of genes; nothing of size
    genes × genes is held. Binning grows, for each gene, with the square of the number of different values that the gene
    has. In few cells (below about a hundred) a gene may be left with a single bin, and so without information.

    Parameters
    ----------
    task
        Only ``expression``, ``regulators`` and ``n_jobs`` are read.

    Returns
    -------
    Bits, 0 or more; 0 for a gene whose expression is the same in every cell, and for a regulator with itself.
    """
    from scgrn_tl.models.bayesian_blocks import bin_genes
    from scgrn_tl.models.information import mutual_information as information_between

    genes = bin_genes(task.expression, n_jobs=task.n_jobs)
    matrix = information_between(genes[task.regulators], genes, n_jobs=task.n_jobs)  # (R, G)
    matrix[np.arange(len(task.regulators)), task.regulators] = 0
    return GRNScores(task.regulators, matrix)
