"""Do regression coefficients differ between two groups of cells? Studentised differences and their permutations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Contrast", "contrast_coefficients", "permutation_pvalues", "permute_within"]

_BLOCK = 50_000
"""Values of a permutations × cells array that are held at a time: what fits a processor's cache."""

_LEAST_KEPT = 0.05
"""Of 1 − h; below it HC3 would rest on a residual that is next to nothing."""


@dataclass(frozen=True, eq=False)
class Contrast:
    """Coefficients of one response on its p regressors in two groups.

    Attributes
    ----------
    coefficients
        ``float64[2, p]``, as observed: of the cells marked, then of the others.
    errors
        ``float64[p]``, standard error of their difference.
    statistics
        ``float64[1 + B, p]``, studentised difference, observed and of B permutations.
    """

    coefficients: np.ndarray
    errors: np.ndarray
    statistics: np.ndarray


def permute_within(marked: np.ndarray, strata: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """``bool[1 + n, N]``: the marks as they are, then ``n`` times shuffled among the cells of each stratum."""
    shuffled = np.repeat(marked[None], n + 1, axis=0)
    for stratum in np.unique(strata):
        cells = np.flatnonzero(strata == stratum)
        shuffled[1:, cells] = rng.permuted(shuffled[1:, cells], axis=1)
    return shuffled


def contrast_coefficients(
    regressors: np.ndarray, response: np.ndarray, marks: np.ndarray, *, own_leverage: np.ndarray, ridge: float
) -> Contrast:
    r"""Contrast the least-squares coefficients of marked cells with those of the others, for many ways to mark them.

    .. math:: T_r = \frac{\hat\beta^A_r - \hat\beta^B_r}{\sqrt{v^A_r + v^B_r}}, \qquad
              \hat\beta^g = (X_g^\top X_g + \lambda n_g I)^{-1} X_g^\top y_g

    with the heteroscedasticity-consistent variance HC3 (MacKinnon and White 1985)

    .. math:: V^g = S_g \Big(\sum_{i \in g} \frac{e_i^2}{(1 - h_i)^2}\, x_i x_i^\top\Big) S_g, \qquad
              S_g = (X_g^\top X_g + \lambda n_g I)^{-1}.

    Sums over the cells of a group are products of the marks with cell-wise products, for all permutations at once.

    Parameters
    ----------
    regressors, response
        ``float64[N, p]`` and ``float64[N]``, centred.
    marks
        ``bool[1 + B, N]`` of :func:`permute_within`, as many cells in each row.
    own_leverage
        ``float64[N]``, what the centring has added to each cell's leverage h.
    ridge
        λ, per cell.
    """
    n_cells, n_regressors = regressors.shape
    upper = np.triu_indices(n_regressors)
    products = regressors[:, upper[0]] * regressors[:, upper[1]]  # (N, q)
    crossed = regressors * response[:, None]  # (N, p)
    n_marked = int(marks[0].sum())
    rows_at_once = max(1, _BLOCK // n_cells)
    statistics: list[np.ndarray] = []
    for start in range(0, len(marks), rows_at_once):
        block = marks[start : start + rows_at_once].astype(np.float64)  # (b, N)
        gram, moment = block @ products, block @ crossed
        sides = (
            (block, gram, moment, n_marked),
            (1 - block, products.sum(0) - gram, crossed.sum(0) - moment, n_cells - n_marked),
        )
        fits = []
        for members, own_gram, own_moment, size in sides:
            inverse = np.linalg.inv(_full(own_gram, upper) + ridge * size * np.eye(n_regressors))  # (b, p, p)
            fitted = (inverse @ own_moment[:, :, None])[:, :, 0]
            # h = x'Sx from the upper triangle, where what stands beside the diagonal counts twice
            packed = inverse[:, upper[0], upper[1]] * np.where(upper[0] == upper[1], 1.0, 2.0)
            kept = packed @ products.T  # (b, N), to become 1 − h
            kept += own_leverage
            np.subtract(1.0, kept, out=kept)
            np.maximum(kept, _LEAST_KEPT, out=kept)
            weights = fitted @ regressors.T  # (b, N), to become e²/(1 − h)² of the members
            np.subtract(response, weights, out=weights)
            weights /= kept
            weights *= weights
            weights *= members
            meat = _full(weights @ products, upper)
            fits.append((fitted, ((inverse @ meat) * inverse).sum(axis=2)))  # the diagonal of SMS, S being symmetric
        (first, first_variance), (second, second_variance) = fits
        error = np.sqrt(np.maximum(first_variance + second_variance, np.finfo(float).tiny))
        statistics.append((first - second) / error)
        if start == 0:
            coefficients, errors = np.stack([first[0], second[0]]), error[0]
    return Contrast(coefficients, errors, np.concatenate(statistics))


def _full(packed: np.ndarray, upper: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Symmetric matrices ``(b, p, p)`` from their upper triangles ``(b, q)``."""
    size = int(upper[0].max()) + 1
    full = np.empty((len(packed), size, size))
    full[:, upper[0], upper[1]] = packed
    full[:, upper[1], upper[0]] = packed
    return full


def permutation_pvalues(statistics: np.ndarray, margins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""How often permutations give as large a statistic, the permutations of all tests taken together.

    Each test is put on the scale of its own permutations, :math:`z = (T - m) / (s\sqrt{1 + 1/B})` with their mean m and
    standard deviation s; each permutation on that of the B − 1 others. On that scale the tests share a null
    distribution, and p-values as small as 1/(BE) can be told from E tests, where each alone ends at 1/(B + 1).

    With :math:`S(x)` the share of \|z\| among all permutations that is at least x, and a margin δ in units of the
    statistic, the p-value of "no further from 0 than δ" is that at its border (McCarthy and Smyth 2009):

    .. math:: p = \tfrac12 S(|z| - \delta/s) + \tfrac12 S(|z| + \delta/s), \qquad S(-x) = 2 - S(x).

    Parameters
    ----------
    statistics
        ``float64[1 + B, E]``, observed and permuted; B at least 3.
    margins
        ``float64[E]``, δ; at 0 the p-value is :math:`S(|z|)`.

    Returns
    -------
    ``float64[E]``, z, and ``float64[E]``, p.
    """
    observed, permuted = statistics[0], statistics[1:]
    n = len(permuted)
    deviations = permuted - permuted.mean(axis=0)
    squares = np.maximum((deviations**2).sum(axis=0), np.finfo(float).tiny)
    scale = np.sqrt(squares / (n - 1) * (1 + 1 / n))
    z = (observed - permuted.mean(axis=0)) / scale
    # leaving b out: its distance from the others' mean is n/(n−1) times its deviation, and their squares add up to less
    others = (squares - deviations**2 * (n / (n - 1))) / (n - 2)
    others = np.sqrt(np.maximum(others, np.finfo(float).tiny) * (1 + 1 / (n - 1)))
    null = np.sort(np.abs(deviations * (n / (n - 1)) / others).ravel())

    def share(x: np.ndarray) -> np.ndarray:
        # a hair less, so that a tie counts as one whatever the rounding
        larger = len(null) - np.searchsorted(null, np.abs(x) * (1 - 1e-9), side="left")
        tail: np.ndarray = (1 + larger) / (1 + len(null))
        return np.where(x >= 0, tail, 2 - tail)

    shift = margins / scale
    return z, np.minimum(0.5 * share(np.abs(z) - shift) + 0.5 * share(np.abs(z) + shift), 1.0)
