"""Which genes vary more than by chance: an F-test of regression on pseudotime or groups, in one pass over cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core import (
    ArgumentError,
    by_rows,
    expression_matrix,
    iter_cells,
    needs_normalization,
    summarize_expression,
)
from scgrn_tl.core.expression_places import usable_expression
from scgrn_tl.core.matrix import BLOCK_VALUES
from scgrn_tl.core.tokens import log_normalize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

__all__ = ["Variation", "group_basis", "measure_variation", "spline_basis"]


@dataclass(frozen=True, eq=False)
class Variation:
    """How much each gene varies over cells.

    Attributes
    ----------
    variance
        ``float64[G]``, of log-normalised expression, unbiased.
    p_values
        ``float64[G]`` of the F-test, Bonferroni-corrected for the number of bases; NaN for a gene that does not vary.
        ``None`` without bases.
    """

    variance: np.ndarray
    p_values: np.ndarray | None


def spline_basis(times: np.ndarray, n_knots: int) -> np.ndarray:
    """Cubic B-splines of ``times (N,)`` with knots at quantiles, ``(N, n_knots + 1)``; NaN rows where a time is NaN."""
    from sklearn.preprocessing import SplineTransformer

    timed = np.isfinite(times)
    if len(np.unique(times[timed])) < 2:
        msg = (
            "A pseudotime has fewer than two different values, and nothing varies along it. "
            "Name another by `pseudotime=`, or leave it out."
        )
        raise ArgumentError(msg)
    # Of many cells at one time, quantiles coincide: knots are then evenly spaced over the times that there are.
    knots = np.quantile(times[timed], np.linspace(0, 1, n_knots))
    if len(np.unique(knots)) < n_knots:
        knots = np.linspace(knots[0], knots[-1], n_knots)
    basis = np.full((len(times), n_knots + 1), np.nan)
    splines = SplineTransformer(n_knots, degree=3, knots=knots[:, None], include_bias=False)
    basis[timed] = splines.fit_transform(times[timed, None])
    return basis


def group_basis(codes: np.ndarray) -> np.ndarray:
    """An indicator of each group but the first, ``(N, groups - 1)``, out of codes; NaN where a code is negative."""
    if codes.max(initial=-1) < 1:
        msg = (
            "There is one group of cells, and nothing varies between groups. "
            "Name another column by `groupby=`, or leave it out."
        )
        raise ArgumentError(msg)
    basis = (codes[:, None] == np.arange(1, codes.max() + 1)).astype(np.float64)
    basis[codes < 0] = np.nan
    return basis


class _Regression:
    """Sums over cells that the F-test of one basis needs.

    With Q an orthonormal basis of the regressors, each less its mean, the sum of squares that they explain is
    ``‖Qᵀy‖²``. Sums are taken of ``y`` less its value in the first cell, so that no digits are lost.
    """

    def __init__(self, basis: np.ndarray, n_genes: int) -> None:
        self.cells = np.isfinite(basis).all(axis=1)
        inside = basis[self.cells]
        left, size, _ = np.linalg.svd(inside - inside.mean(axis=0), full_matrices=False)
        rank = int((size > size.max(initial=0) * len(inside) * np.finfo(float).eps * 10).sum())
        self.n, self.rank = len(inside), rank
        if self.n - rank - 1 < 1 or not rank:
            msg = (
                f"An F-test of {rank} coefficients needs more than the {self.n} cells that there are. "
                "Take fewer (`n_knots=`), or leave out `pseudotime=` and `groupby=`."
            )
            raise ArgumentError(msg)
        self.q = np.zeros((len(basis), rank))
        self.q[self.cells] = left[:, :rank]
        self.projected = np.zeros((rank, n_genes))
        self.total, self.squares = np.zeros(n_genes), np.zeros(n_genes)

    def update(self, rows: slice, shifted: np.ndarray) -> None:
        inside = self.cells[rows]
        self.projected += self.q[rows].T @ shifted
        self.total += shifted[inside].sum(axis=0)
        self.squares += np.square(shifted[inside]).sum(axis=0)

    def p_values(self) -> np.ndarray:
        from scipy.stats import f

        around_mean = self.squares - self.total**2 / self.n
        explained = np.minimum(np.square(self.projected).sum(axis=0), around_mean)
        varies = around_mean > self.squares * self.n * np.finfo(float).eps
        freedom = self.n - self.rank - 1
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = (explained / self.rank) / ((around_mean - explained) / freedom)
        return np.where(varies, f.sf(ratio, self.rank, freedom), np.nan)


def measure_variation(adata: AnnData, layer: str | None, bases: Sequence[np.ndarray] = ()) -> Variation:
    """Variance of every gene's log-normalised expression, and the F-test of its regression on each of ``bases``.

    Over several bases (lineages) the smallest p-value is taken, times their number. Counts are normalised to
    ``log2(1 + 10⁴·count/total)``; other values are taken as they are.

    Raises
    ------
    ArgumentError
        If there are not enough cells.
    ExpressionError
        If a value is negative, NaN or infinite.
    """
    matrix = by_rows(expression_matrix(adata, layer))
    mend = partial(usable_expression, adata, besides=layer)
    summary = summarize_expression(matrix, adata.obs_names, adata.var_names, mend=mend)
    totals = summary.totals if needs_normalization("auto", summary) else None
    n_cells, n_genes = adata.shape
    if n_cells < 2:
        msg = "A variance needs two cells or more. Give more cells, or `variances=`."
        raise ArgumentError(msg)
    tests = [_Regression(basis, n_genes) for basis in bases]
    shift, total, squares = np.zeros(n_genes), np.zeros(n_genes), np.zeros(n_genes)
    for rows, block in iter_cells(matrix, batch_size=max(1, BLOCK_VALUES // n_genes), dtype=np.float64):
        values = block if totals is None else log_normalize(block, totals[rows])
        if rows.start == 0:
            shift = values[0].copy()
        values = values - shift
        total += values.sum(axis=0)
        squares += np.square(values).sum(axis=0)
        for test in tests:
            test.update(rows, values)
    variance = np.maximum(squares - total**2 / n_cells, 0) / (n_cells - 1)
    variance[squares == 0] = 0
    if not tests:
        return Variation(variance, None)
    each = np.array([test.p_values() for test in tests])
    tested = np.isfinite(each).any(axis=0)
    smallest = np.where(np.isfinite(each), each, 1.0).min(axis=0)
    return Variation(variance, np.where(tested, np.minimum(smallest * len(tests), 1.0), np.nan))
