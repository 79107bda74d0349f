"""The hub floor as a fitted model: a coefficient per regulator and per target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core.errors import ArgumentError
from scgrn_tl.core.task import GRNScores

from ._registry import method

if TYPE_CHECKING:
    from scgrn_tl.core.task import GRNTask

__all__ = ["gene_identity"]


def _check(*, C: float = 1.0) -> None:
    if not C > 0:
        msg = f"C, the inverse of the penalty's strength, is positive; not {C!r}."
        raise ArgumentError(msg)


@method(
    name="gene_identity",
    role="floor",
    supervised=True,
    directed=True,
    stochastic=False,
    reads_sparse=True,
    reference="this package",
    check=_check,
)
def gene_identity(task: GRNTask, *, C: float = 1.0) -> GRNScores:
    """Logistic regression on which regulator and which target it is.

    It sees two one-hot vectors and nothing else: what a model gets that can only tell genes apart.

    Parameters
    ----------
    task
        Only the split and the regulators are read.
    C
        Inverse strength of the L2 penalty of :class:`sklearn.linear_model.LogisticRegression`.

    Returns
    -------
    Logits; a gene without training pairs has coefficient 0. All are 0 if the training pairs are of one class.
    """
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    train, _ = task.supervision()
    n_genes, n_pairs = task.n_genes, len(train)
    coefficients, intercept = np.zeros(2 * n_genes), 0.0
    if train.labels.any() and not train.labels.all():
        columns = train.pairs + np.array([0, n_genes])
        one_hot = sparse.csr_matrix(
            (np.ones(2 * n_pairs), columns.ravel(), np.arange(0, 2 * n_pairs + 1, 2)), shape=(n_pairs, 2 * n_genes)
        )
        fitted = LogisticRegression(C=C, max_iter=1000).fit(one_hot, train.labels)
        coefficients, intercept = fitted.coef_[0], float(fitted.intercept_[0])
    matrix = intercept + np.add.outer(coefficients[task.regulators], coefficients[n_genes:])
    matrix = matrix.astype(np.float32)
    return GRNScores(task.regulators, matrix, hub=matrix, is_logit=True)
