"""Hub rates: how often each gene regulates and is regulated, shrunk by as much as the data asks for.

A two-way logistic model with random effects::

    logit P(i → j) = b₀ + b_i^TF + b_j^tgt,    b^TF ~ N(0, σ_TF²),  b^tgt ~ N(0, σ_tgt²)

fitted by penalised Newton steps; the two variances by expectation–maximisation with Laplace's approximation of the
posterior variances (Breslow & Clayton 1993; MacKay's evidence procedure). A gene without pairs gets 0, the average.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.blas import dsyrk, dtrmm
from scipy.special import expit, logit

from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.errors import ArgumentError

__all__ = ["HubRates", "fit_hub_rates"]


LOGGER = logging.getLogger(__name__)

MAX_STEP = 4.0
"""Largest change of a term in one Newton step, on the log-odds scale."""

_BLOCK_PAIRS = 2**21
"""Pairs whose terms, float64, are held at a time."""


@dataclass(frozen=True, eq=False)
class HubRates:
    """Terms of the two-way logistic model, on the log-odds scale.

    Attributes
    ----------
    base
        b₀.
    regulator
        ``float64[R]``, b^TF.
    target
        ``float64[G]``, b^tgt.
    regulator_variance, target_variance
        σ_TF² and σ_tgt².
    """

    base: float
    regulator: np.ndarray
    target: np.ndarray
    regulator_variance: float
    target_variance: float

    def matrix(self) -> np.ndarray:
        """``float32[R, G]``, log-odds of every pair."""
        total = np.empty((len(self.regulator), len(self.target)), dtype=np.float32)
        return np.add(self.base + self.regulator[:, None], self.target, out=total, casting="same_kind")


@typed_arguments
def fit_hub_rates(
    labels: np.ndarray, mask: np.ndarray, *, n_iterations: int = 30, newton_steps: int = 1, tolerance: float = 1e-3
) -> HubRates:
    """Fit the model to labelled pairs.

    Parameters
    ----------
    labels
        ``[R, G]``, 1 where the row's regulator regulates the column's gene. Read only where ``mask``.
    mask
        ``bool[R, G]``, the pairs that are labelled.
    n_iterations
        Most expectation–maximisation rounds.
    newton_steps
        Newton steps in each.
    tolerance
        Stop when neither variance moves by more than this share.

    Raises
    ------
    ArgumentError
        If ``labels`` and ``mask`` are not matrices of one shape, no pair is labelled, or there are to be no iterations
        or no steps in them.
    """
    seen = np.asarray(mask, dtype=bool)
    if seen.ndim != 2 or labels.shape != seen.shape or not seen.any():
        msg = (
            "labels and mask are matrices of one shape, regulators × genes, and mask marks a pair at least; got shapes "
            f"{labels.shape} and {seen.shape}, and {int(seen.sum()):,} pairs."
        )
        raise ArgumentError(msg)
    if n_iterations < 1 or newton_steps < 1:
        msg = f"n_iterations and newton_steps are at least 1, not {n_iterations} and {newton_steps}."
        raise ArgumentError(msg)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if len(rows) < seen.shape[0] or len(columns) < seen.shape[1]:
        # Genes without a labelled pair say nothing of the variances: they get the average, 0.
        part = np.ix_(rows, columns)
        found = fit_hub_rates(
            np.asarray(labels)[part],
            seen[part],
            n_iterations=n_iterations,
            newton_steps=newton_steps,
            tolerance=tolerance,
        )
        regulator, target = np.zeros(seen.shape[0]), np.zeros(seen.shape[1])
        regulator[rows], target[columns] = found.regulator, found.target
        return HubRates(found.base, regulator, target, found.regulator_variance, found.target_variance)
    labels = np.asarray(labels, dtype=bool) & seen
    n_regulators, n_genes = labels.shape
    rate = (labels.sum() + 0.5) / (seen.sum() + 1.0)
    rates = HubRates(float(logit(rate)), np.zeros(n_regulators), np.zeros(n_genes), 1.0, 1.0)
    width = max(1, _BLOCK_PAIRS // n_regulators)
    blocks = [slice(start, min(start + width, n_genes)) for start in range(0, n_genes, width)]
    for n_rounds in range(1, n_iterations + 1):  # noqa: B007
        for _ in range(newton_steps):
            rates, regulator_spread, target_spread = _newton_step(rates, labels, seen, blocks)
        variances = (
            float(np.mean(rates.regulator**2 + regulator_spread)),
            float(np.mean(rates.target**2 + target_spread)),
        )
        before = rates.regulator_variance, rates.target_variance
        rates = HubRates(rates.base, rates.regulator, rates.target, *variances)
        if np.allclose(before, variances, rtol=tolerance):
            break
    LOGGER.debug(
        "Hub rates of %s regulators and %s genes: standard deviations %.2f and %.2f after %d rounds.",
        f"{n_regulators:,}",
        f"{n_genes:,}",
        rates.regulator_variance**0.5,
        rates.target_variance**0.5,
        n_rounds,
    )
    return rates


def _block_terms(
    at: HubRates, labels: np.ndarray, mask: np.ndarray, genes: slice
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a block of n genes: the residuals ``(R, n)``, and their part of the Hessian.

    That is an arrow: ``(1 + R, n)`` base and regulators against targets, and the targets' diagonal ``(n,)``.
    """
    mask = mask[:, genes].astype(np.float64)
    probability = expit(at.base + at.regulator[:, None] + at.target[None, genes])
    residual = labels[:, genes] - mask * probability
    weight = mask * probability * (1 - probability)
    of_target = weight.sum(0)
    return residual, np.vstack([of_target, weight]), of_target + 1 / at.target_variance


def _newton_step(
    at: HubRates, labels: np.ndarray, mask: np.ndarray, blocks: list[slice]
) -> tuple[HubRates, np.ndarray, np.ndarray]:
    """One penalised Newton step, a block of targets at a time, the targets eliminated (Schur complement).

    Returns
    -------
    The rates after the step, and by the Hessian before it the posterior variances ``(R,)`` and ``(G,)``.
    """
    n_regulators, n_genes = labels.shape
    weights, residuals, target_residuals = np.zeros(n_regulators), np.zeros(n_regulators), np.empty(n_genes)
    explained, pulled = np.zeros((1 + n_regulators, 1 + n_regulators), order="F"), np.zeros(1 + n_regulators)
    for genes in blocks:
        residual, left, diagonal = _block_terms(at, labels, mask, genes)
        weights += left[1:].sum(1)
        residuals += residual.sum(1)
        target_residuals[genes] = residual.sum(0) - at.target[genes] / at.target_variance
        pulled += left @ (target_residuals[genes] / diagonal)
        left /= np.sqrt(diagonal)
        explained = dsyrk(1.0, left.T, trans=1, beta=1.0, c=explained, overwrite_c=True)  # its upper triangle
    corner = np.diag(np.concatenate([[1e-6 + weights.sum()], weights + 1 / at.regulator_variance]))
    corner[0, 1:] = weights
    gradient = np.concatenate([[residuals.sum() - 1e-6 * at.base], residuals - at.regulator / at.regulator_variance])
    factor = cholesky(corner - explained, overwrite_a=True)  # U with UᵀU the Schur complement
    step = cho_solve((factor, False), gradient - pulled)
    root = solve_triangular(factor, np.eye(len(factor)))  # upper; root @ root.T the inverse of the Schur complement
    target_step, target_spread = np.empty(n_genes), np.empty(n_genes)
    for genes in blocks:
        _, left, diagonal = _block_terms(at, labels, mask, genes)
        target_step[genes] = (target_residuals[genes] - step @ left) / diagonal
        left /= diagonal
        target_spread[genes] = 1 / diagonal + np.square(dtrmm(1.0, root, left.T, side=1, overwrite_b=1)).sum(1)
    # Newton on a logistic likelihood can overshoot from afar: no term moves by more than MAX_STEP at once.
    damping = min(1.0, MAX_STEP / max(np.abs(step).max(), np.abs(target_step).max(), 1e-12))
    after = HubRates(
        at.base + damping * float(step[0]),
        at.regulator + damping * step[1:],
        at.target + damping * target_step,
        at.regulator_variance,
        at.target_variance,
    )
    return after, np.square(root).sum(1)[1:], target_spread
