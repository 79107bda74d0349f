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
from scipy.special import expit, logit

__all__ = ["HubRates", "fit_hub_rates"]


LOGGER = logging.getLogger(__name__)

MAX_STEP = 4.0
"""Largest change of a term in one Newton step, on the log-odds scale."""


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
        return (self.base + self.regulator[:, None] + self.target[None, :]).astype(np.float32)


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
    """
    seen = np.asarray(mask, dtype=bool)
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
    mask = seen.astype(np.float64)
    labels = np.asarray(labels, dtype=np.float64) * mask
    n_regulators, n_genes = labels.shape
    rate = (labels.sum() + 0.5) / (mask.sum() + 1.0)
    base, regulator, target = float(logit(rate)), np.zeros(n_regulators), np.zeros(n_genes)
    regulator_variance = target_variance = 1.0
    for n_rounds in range(1, n_iterations + 1):  # noqa: B007
        for _ in range(newton_steps):
            probability = expit(base + regulator[:, None] + target[None, :])
            residual = labels - mask * probability
            weight = mask * probability * (1 - probability)
            # Hessian: an arrow. The targets' block is diagonal, so they are eliminated (Schur complement).
            target_diagonal = weight.sum(0) + 1 / target_variance  # (G,)
            left = np.vstack([weight.sum(0), weight])  # (1 + R, G): base and regulators against targets
            corner = np.diag(np.concatenate([[1e-6 + weight.sum()], weight.sum(1) + 1 / regulator_variance]))
            corner[0, 1:] = corner[1:, 0] = weight.sum(1)
            scaled = left / target_diagonal
            schur = corner - scaled @ left.T
            gradient = np.concatenate(
                [[residual.sum() - 1e-6 * base], residual.sum(1) - regulator / regulator_variance]
            )
            target_gradient = residual.sum(0) - target / target_variance
            step = np.linalg.solve(schur, gradient - scaled @ target_gradient)
            target_step = (target_gradient - left.T @ step) / target_diagonal
            # Newton on a logistic likelihood can overshoot from afar: no term moves by more than MAX_STEP at once.
            damping = min(1.0, MAX_STEP / max(np.abs(step).max(), np.abs(target_step).max(), 1e-12))
            target = target + damping * target_step
            base, regulator = base + damping * float(step[0]), regulator + damping * step[1:]
        inverse = np.linalg.inv(schur)
        regulator_spread = np.diag(inverse)[1:]
        target_spread = 1 / target_diagonal + (scaled * (inverse @ scaled)).sum(0)
        before = regulator_variance, target_variance
        regulator_variance = float(np.mean(regulator**2 + regulator_spread))
        target_variance = float(np.mean(target**2 + target_spread))
        if np.allclose(before, (regulator_variance, target_variance), rtol=tolerance):
            break
    LOGGER.info(
        "Hub rates of %s regulators and %s genes: standard deviations %.2f and %.2f after %d rounds.",
        f"{n_regulators:,}",
        f"{n_genes:,}",
        regulator_variance**0.5,
        target_variance**0.5,
        n_rounds,
    )
    return HubRates(base, regulator, target, regulator_variance, target_variance)
