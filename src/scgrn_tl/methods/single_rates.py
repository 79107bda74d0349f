"""Half of the hub floor: how often the regulator alone, or the target alone, has an edge in training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.task import GRNScores

from ._registry import method
from .hub_floor import gene_rates

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNTask

__all__ = ["target_rate", "tf_rate"]


@method(
    name="tf_rate",
    role="floor",
    supervised=True,
    directed=True,
    stochastic=False,
    reads_sparse=True,
    reference="this package",
)
def tf_rate(task: GRNTask) -> GRNScores:
    """Rate of edges of the regulator among the training pairs.

    Every target of a regulator has the same score: within one regulator this is chance.

    Parameters
    ----------
    task
        Only the split and the regulators are read.

    Returns
    -------
    Shrunk log-odds, or log(1 + out-degree) where training has edges only; see
    :func:`scgrn_tl.methods.hub_floor.hub_floor`.
    """
    of_regulator, _ = _rates(task)
    return _as_scores(task, np.repeat(of_regulator[task.regulators, None], task.n_genes, axis=1))


@method(
    name="target_rate",
    role="floor",
    supervised=True,
    directed=True,
    stochastic=False,
    reads_sparse=True,
    reference="this package",
)
def target_rate(task: GRNTask) -> GRNScores:
    """Rate of edges of the target among the training pairs.

    Parameters
    ----------
    task
        Only the split and the regulators are read.

    Returns
    -------
    Shrunk log-odds, or log(1 + in-degree) where training has edges only; see
    :func:`scgrn_tl.methods.hub_floor.hub_floor`.
    """
    _, of_gene = _rates(task)
    return _as_scores(task, np.repeat(of_gene[None, :], len(task.regulators), axis=0))


def _rates(task: GRNTask) -> tuple[np.ndarray, np.ndarray]:
    train, _ = task.supervision()
    two_classes = train.labels.any() and not train.labels.all()
    return gene_rates(train, task.n_genes, form="logit" if two_classes else "degree")


def _as_scores(task: GRNTask, matrix: np.ndarray) -> GRNScores:
    values = matrix.astype(np.float32)
    return GRNScores(task.regulators, values, hub=values)
