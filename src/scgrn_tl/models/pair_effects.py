r"""What of a pair known edges tell by themselves: hub terms, and latent factors, both read from expression too.

A logistic model with random effects that are correlated between genes::

    logit P(i → g) = b₀ + b_i + t_g + Σ_k L_ik z_gk
    b ~ N(0, ½σ_TF² I),  t ~ N(0, σ_tgt² (I + ¼K)),  z_k ~ N(0, vI + ½K)

K is the similarity of genes by expression (:class:`~scgrn_tl.models.gene_kernel.GeneKernel`), so that both how often a
gene is regulated and by which kind of regulator is read from genes that are expressed alike, and a gene without a known
edge has more than an average. L holds which regulators share targets beyond what their hub rates explain: the leading
eigenvectors of the correlation of their residual target sets. σ_TF² and σ_tgt² are those of
:func:`~scgrn_tl.models.fit_hub_rates`; v is 3, or 0.3 where that tells labelled pairs that were left out clearly better
(:func:`clearly_better`). This is probabilistic matrix factorisation (Salakhutdinov & Mnih 2008) with side
information in the prior of the factors (Zhou et al. 2012); the mode is found by Newton's method, each step solved by
conjugate gradients (Laplace's approximation of a Gaussian process classifier: Rasmussen & Williams 2006, alg. 3.1).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.special import expit

from .hub_rates import fit_hub_rates

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from .gene_kernel import GeneKernel
    from .hub_rates import HubRates

__all__ = ["FACTOR_VARIANCES", "PairEffects", "clearly_better", "fit_pair_effects", "held_out_effects"]

LOGGER = logging.getLogger(__name__)

REGULATOR_SHARE = 0.5
"""Variance of a regulator's term, over that of its hub rate."""
HUB_BY_EXPRESSION = 0.25
"""Variance of a target's term that goes by expression, over that of its hub rate."""
FACTOR_VARIANCES = (3.0, 0.3)
"""Variance v of a gene's factors of its own: of networks with many known edges for each gene, and with few."""
FACTOR_BY_EXPRESSION = 0.5
"""Variance of a gene's factors that goes by expression."""
CLEARLY = 2.0
"""Standard errors by which left-out pairs have to be told better for another variance than the first."""

_NEWTON_STEPS = 20
_CG_STEPS = 150
_CG_TOLERANCE = 1e-5
"""Norm of the residual, over that of the right side; with 3e-4, Newton steps close to the mode lead away from it."""
_ENOUGH = 1e-2
"""Nats of penalised log-likelihood that a last Newton step gains."""


@dataclass(frozen=True, eq=False)
class PairEffects:
    """Effects on the log-odds of an edge, at the mode.

    Attributes
    ----------
    base
        b₀.
    regulator
        ``float32[R]``, b.
    target
        ``float32[G]``, t.
    loadings
        ``float32[R, q]``, L.
    factors
        ``float32[G, q]``, z.
    factor_mean
        ``float32[q]``, what was taken off z by :meth:`centred`; 0 before.
    by_expression
        ``float32[1 + q, G]``: times K, what expression alone tells of t and of each z_k, the latter before
        ``factor_mean`` is taken off; ``None`` where it is not read.
    """

    base: float
    regulator: np.ndarray
    target: np.ndarray
    loadings: np.ndarray
    factors: np.ndarray
    factor_mean: np.ndarray
    by_expression: np.ndarray | None = None

    @classmethod
    def none(cls, n_regulators: int, n_genes: int) -> PairEffects:
        """No effects at all."""
        shapes: list[tuple[int, ...]] = [(n_regulators,), (n_genes,), (n_regulators, 0), (n_genes, 0), (0,)]
        return cls(0.0, *(np.zeros(shape, dtype=np.float32) for shape in shapes))

    def tensors(self) -> dict[str, Tensor]:
        """What :class:`~scgrn_tl.models.sctransnet.GeneInputs` takes of them, by name."""
        found = {"regulator_rate": self.regulator, "target_rate": self.target}
        if self.by_expression is not None:
            found["by_expression"] = self.by_expression
        if self.loadings.shape[1]:
            found |= {"loadings": self.loadings, "factors": self.factors, "factor_mean": self.factor_mean}
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in found.items()}

    def centred(self) -> PairEffects:
        """The same log-odds, with what Lz averages to over regulators or genes moved to the genes' own terms."""
        of_regulators, of_genes = self.loadings.mean(0), self.factors.mean(0)
        loadings = self.loadings - of_regulators
        by_expression = self.by_expression
        if by_expression is not None:
            by_expression = np.vstack([by_expression[:1] + of_regulators @ by_expression[1:], by_expression[1:]])
        return replace(
            self,
            regulator=self.regulator + loadings @ of_genes,
            target=self.target + self.factors @ of_regulators,
            loadings=loadings,
            factors=self.factors - of_genes,
            by_expression=by_expression,
            factor_mean=of_genes + self.factor_mean,
        )

    def matrix(self) -> np.ndarray:
        """``float32[R, G]``, log-odds of every pair."""
        total: np.ndarray = self.loadings @ self.factors.T
        total += np.float32(self.base) + self.regulator[:, None]
        total += self.target
        return total


def fit_pair_effects(
    labels: np.ndarray,
    mask: np.ndarray,
    *,
    kernel: GeneKernel | None = None,
    n_factors: int = 12,
    factor_variance: float = FACTOR_VARIANCES[0],
) -> PairEffects:
    """Fit the model to labelled pairs.

    Parameters
    ----------
    labels
        ``bool[R, G]``, true where the row's regulator regulates the column's gene. Read only where ``mask``.
    mask
        ``bool[R, G]``, the pairs that are labelled.
    kernel
        Similarity of the G genes by expression; without it effects are of each gene alone.
    n_factors
        Latent factors q; fewer where there are fewer regulators. Without any and without a kernel, what is left are the
        hub rates.
    factor_variance
        v, the variance of a gene's factors of its own.

    Raises
    ------
    ArgumentError
        If no pair is labelled.
    """
    return next(_fits(labels, mask, kernel, n_factors, (factor_variance,)))


def held_out_effects(
    labels: np.ndarray,
    mask: np.ndarray,
    fold: np.ndarray,
    *,
    kernel: GeneKernel | None = None,
    n_factors: int = 12,
    factor_variances: Sequence[float] = FACTOR_VARIANCES,
) -> np.ndarray:
    """Log-odds of the labelled pairs by effects that were fitted without them, ``float32[V, R, G]``; 0 elsewhere.

    Parameters
    ----------
    labels, mask, kernel, n_factors
        As of :func:`fit_pair_effects`.
    fold
        ``int[R, G]``, the part of each pair; each part is left out once. Pairs of a part without which nothing is
        labelled have log-odds 0.
    factor_variances
        The V variances of a gene's own factors that are fitted.
    """
    found = np.zeros((len(factor_variances), *labels.shape), dtype=np.float32)
    for number in np.unique(fold[mask]):
        left_out = mask & (fold == number)
        rest = mask & ~left_out
        if rest.any():
            for into, effects in zip(found, _fits(labels, rest, kernel, n_factors, factor_variances), strict=True):
                np.copyto(into, effects.matrix(), where=left_out)
    return found


def clearly_better(held_out: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> int:
    """Which of V sets of log-odds tells the labelled pairs best: the first, unless another does so clearly.

    Clearly is by more than :data:`CLEARLY` standard errors of the mean difference in log-likelihood, pair by pair; of
    several that do, the one of the highest likelihood.

    Parameters
    ----------
    held_out
        ``[V, R, G]``, log-odds of pairs by fits without them (:func:`held_out_effects`).
    labels, mask
        As of :func:`fit_pair_effects`.
    """
    truth = labels[mask]
    first, best, most = None, 0, 0.0
    for number, log_odds in enumerate(held_out):
        at = log_odds[mask].astype(np.float64)
        likelihood = truth * at - np.logaddexp(0, at)
        if first is None:
            first = likelihood
            continue
        gained = likelihood - first
        if gained.mean() > max(most, CLEARLY * gained.std() / np.sqrt(gained.size)):
            best, most = number, float(gained.mean())
    return best


def _fits(
    labels: np.ndarray,
    mask: np.ndarray,
    kernel: GeneKernel | None,
    n_factors: int,
    factor_variances: Sequence[float],
) -> Iterator[PairEffects]:
    """The effects with factors of each of the variances; what does not hang on these is fitted once."""
    rates = fit_hub_rates(labels, mask)
    if kernel is None and not n_factors:
        hub = PairEffects(
            rates.base,
            rates.regulator.astype(np.float32),
            rates.target.astype(np.float32),
            np.zeros((labels.shape[0], 0), dtype=np.float32),
            np.zeros((labels.shape[1], 0), dtype=np.float32),
            np.zeros(0, dtype=np.float32),
        )
        yield from (hub for _ in factor_variances)
        return
    labels = np.asarray(labels, dtype=bool) & mask
    start = rates.matrix()
    loadings = _shared_targets(labels, mask, start, n_factors)
    for variance in factor_variances:
        yield _fit(labels, mask, rates, start, loadings, kernel, variance)


def _fit(
    labels: np.ndarray,
    mask: np.ndarray,
    rates: HubRates,
    start: np.ndarray,
    loadings: np.ndarray,
    kernel: GeneKernel | None,
    factor_variance: float,
) -> PairEffects:
    """The effects by given hub rates, whose log-odds are ``start``, and loadings."""
    one_and_loadings = np.hstack([np.ones((len(labels), 1), dtype=np.float32), loadings])  # (R, 1 + q)
    n_loadings = loadings.shape[1]
    own = np.array([rates.target_variance] + [factor_variance] * n_loadings, dtype=np.float32)[:, None]
    shared = np.array(
        [HUB_BY_EXPRESSION * rates.target_variance] + [FACTOR_BY_EXPRESSION] * n_loadings, dtype=np.float32
    )[:, None]
    prior = _Covariance(REGULATOR_SHARE * rates.regulator_variance, one_and_loadings, own, shared, kernel)
    weights, n_steps = _mode(labels, mask, rates.base, start - np.float32(rates.base), prior)
    of_genes, by_expression = prior.of_genes(weights)
    LOGGER.debug(
        "Pair effects of %s regulators and %s genes, %d latent factors of variance %g%s: mode after %d Newton steps.",
        f"{labels.shape[0]:,}",
        f"{labels.shape[1]:,}",
        n_loadings,
        factor_variance,
        "" if kernel is None else ", by expression too",
        n_steps,
    )
    return PairEffects(
        rates.base,
        prior.of_regulators(weights),
        of_genes[0],
        loadings,
        np.ascontiguousarray(of_genes[1:].T),
        np.zeros(n_loadings, dtype=np.float32),
        by_expression,
    )


# -------------------------------------------------------------------- the prior of the effects


class _Covariance:
    """Prior covariance of the log-odds of all pairs, as a linear map of ``(R, G)`` matrices.

    Parameters
    ----------
    regulator
        Variance of a regulator's term.
    one_and_loadings
        ``(R, 1 + q)``, what a gene's term and its factors are multiplied by.
    own, shared
        ``(1 + q, 1)``, variance of each that is a gene's own, and that goes by the kernel.
    kernel
        Similarity of genes.
    """

    def __init__(
        self,
        regulator: float,
        one_and_loadings: np.ndarray,
        own: np.ndarray,
        shared: np.ndarray,
        kernel: GeneKernel | None,
    ) -> None:
        self.regulator = np.float32(regulator)
        self.one_and_loadings = one_and_loadings
        self.own, self.shared, self.kernel = own, shared, kernel

    def of_regulators(self, weights: np.ndarray) -> np.ndarray:
        """Term of each regulator, ``(R,)``."""
        term: np.ndarray = self.regulator * weights.sum(1)
        return term

    def of_genes(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Term and factors of each gene, ``(1 + q, G)``, and what times K is their part that goes by expression."""
        summed = self.one_and_loadings.T @ weights  # (1 + q, G)
        if self.kernel is None:
            return self.own * summed, None
        by_expression = self.shared * summed
        return self.own * summed + self.kernel.times(by_expression), by_expression

    def __matmul__(self, weights: np.ndarray) -> np.ndarray:
        total: np.ndarray = self.one_and_loadings @ self.of_genes(weights)[0]
        total += self.of_regulators(weights)[:, None]
        return total


def _shared_targets(labels: np.ndarray, mask: np.ndarray, log_odds: np.ndarray, n_factors: int) -> np.ndarray:
    """Loadings ``float32 (R, q)``: LLᵀ is the correlation of regulators' targets beyond their hub rates, in q factors.

    Of every two regulators, the mean over genes labelled for both of the product of their Pearson residuals.
    """
    from scipy.linalg import eigh

    n_regulators = len(labels)
    n_factors = min(n_factors, n_regulators)
    if not n_factors:
        return np.zeros((n_regulators, 0), dtype=np.float32)
    probability = expit(log_odds)
    residual = np.where(mask, (labels - probability) / np.sqrt(probability * (1 - probability)), np.float32(0))
    seen = mask.astype(np.float32)
    together = (residual @ residual.T).astype(np.float64) / np.maximum(seen @ seen.T, 1)
    values, vectors = eigh(together, subset_by_index=(n_regulators - n_factors, n_regulators - 1))
    return (vectors * np.sqrt(np.maximum(values, 0)))[:, ::-1].astype(np.float32)


# -------------------------------------------------------------------- the mode


def _mode(
    labels: np.ndarray, mask: np.ndarray, base: float, start: np.ndarray, prior: _Covariance
) -> tuple[np.ndarray, int]:
    """Weights a ``float32 (R, G)`` with prior @ a the mode of the effects; and how many Newton steps it took.

    Newton's step goes to f = C (W⁻¹ + C)⁻¹ (f + W⁻¹ (y − p)), with W = p (1 − p) of labelled pairs; it is halved while
    the penalised likelihood falls.
    """
    effect, weights, best = start, None, -np.inf
    for n_steps in range(1, _NEWTON_STEPS + 1):  # noqa: B007
        new, root = _slopes(labels, mask, effect + np.float32(base))
        scaled = root * effect  # what _solve finds once effect is the mode
        new += root * scaled
        new -= root * _solve(prior, root, root * (prior @ new), scaled)
        new_effect = prior @ new
        quality = _penalised(labels, mask, base, new_effect, new)
        while weights is not None and quality < best - 1e-6 * abs(best):
            new, new_effect = (weights + new) / 2, (effect + new_effect) / 2
            quality = _penalised(labels, mask, base, new_effect, new)
            if np.abs(new_effect - effect).max() < 1e-3:
                break
        gained = quality - best
        weights, effect, best = new, new_effect, quality
        if gained < _ENOUGH:
            break
    return weights, n_steps  # type: ignore[return-value]


def _slopes(labels: np.ndarray, mask: np.ndarray, logit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of the labelled pairs y − p and W^½, ``(R, G)`` each; 0 elsewhere."""
    probability = expit(logit)
    root = np.sqrt(np.where(mask, probability * (1 - probability), np.float32(0)))
    return np.where(mask, labels - probability, np.float32(0)), root


def _penalised(labels: np.ndarray, mask: np.ndarray, base: float, effect: np.ndarray, weights: np.ndarray) -> float:
    """Log-likelihood less half of aᵀCa."""
    logit = effect + np.float32(base)
    likelihood = np.where(mask, labels * logit - np.logaddexp(np.float32(0), logit), 0).sum(dtype=np.float64)
    return float(likelihood - 0.5 * _dot(weights, effect))


def _solve(prior: _Covariance, root: np.ndarray, right: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Solve (I + W^½ C W^½) x = right, by conjugate gradients from ``start``."""
    from scipy.sparse.linalg import LinearOperator, cg

    def image_of(flat: np.ndarray) -> np.ndarray:
        of = flat.reshape(root.shape)
        image = prior @ (root * of)
        image *= root
        image += of
        return image.ravel()

    matrix = LinearOperator((right.size, right.size), matvec=image_of, dtype=right.dtype)
    found, _ = cg(matrix, right.ravel(), start.ravel(), rtol=_CG_TOLERANCE, maxiter=_CG_STEPS)
    solution: np.ndarray = found.reshape(root.shape)
    return solution


def _dot(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.einsum("ij,ij->", one, other, dtype=np.float64))
