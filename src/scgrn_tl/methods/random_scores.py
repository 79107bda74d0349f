"""The random level, as a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.task import GRNScores

from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNTask

__all__ = ["random_scores"]


@method(
    name="random",
    role="floor",
    supervised=False,
    directed=True,
    stochastic=True,
    reads_sparse=True,
    reference="this package",
)
def random_scores(task: GRNTask) -> GRNScores:
    """Uniform random numbers.

    Parameters
    ----------
    task
        Only the regulators, the number of genes and the seed are read.

    Returns
    -------
    Numbers between 0 and 1.
    """
    shape = (len(task.regulators), task.n_genes)
    return GRNScores(task.regulators, np.random.default_rng(task.seed).random(shape, dtype=np.float32))
