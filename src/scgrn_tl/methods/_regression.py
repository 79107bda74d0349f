"""A network out of one regression per target (Huynh-Thu et al. 2010): what the target's expression is told from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core.parallel import parallel_map
from scgrn_tl.core.task import GRNScores

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scgrn_tl.core.task import GRNTask

__all__ = ["regression_scores"]


def regression_scores(
    task: GRNTask, importance: Callable[..., np.ndarray], settings: Mapping[str, Any], *, label: str
) -> GRNScores:
    """Importance of every regulator for every target, each target a job of its own.

    Parameters
    ----------
    task
        Its expression, regulators and ``n_jobs`` are read.
    importance
        ``importance(x, y, settings) -> (F,)``, of the regulators' expression ``x (N, F)`` for the target's ``y (N,)``;
        a function at the top of a module.
    settings
        Handed on.
    label
        Of the progress bar.

    Returns
    -------
    Scores; 0 of a regulator for itself, and for a target whose expression is the same in every cell.
    """
    of_regulators = np.ascontiguousarray(task.expression[task.regulators].T)  # (N, R)
    rows = parallel_map(
        _of_target,
        range(task.n_genes),
        task.expression,
        of_regulators,
        task.regulators,
        importance,
        dict(settings),
        n_jobs=task.n_jobs,
        description=label,
    )
    return GRNScores(task.regulators, np.stack(list(rows), axis=1))


def _of_target(
    target: int,
    expression: np.ndarray,
    of_regulators: np.ndarray,
    regulators: np.ndarray,
    importance: Callable[..., np.ndarray],
    settings: Mapping[str, Any],
) -> np.ndarray:
    """``float32 (R,)``, the importance of every regulator for one target, which never explains itself."""
    scores = np.zeros(len(regulators), dtype=np.float32)
    others = regulators != target
    y = expression[target].astype(np.float64)
    if others.any() and y.min() < y.max():
        scores[others] = importance(of_regulators[:, others], y, settings)
    return scores
