"""What scale normalised expression is on, as the cells' totals tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from .user_warning import warn_user

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["constant_totals", "warn_of_scale"]

N_CELLS = 256
"""Cells that are looked at."""
EXPECTED_TOTAL = 1e4
TOLERANCE = 1e-3
FACTOR = 2.0
"""Totals up to this factor from the expected one pass: they move no value by more than one bin."""

_INVERSE: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda values: values,
    "natural": np.expm1,
    "base 2": lambda values: np.exp2(values) - 1,
}


def constant_totals(block: Any) -> dict[str, float]:
    """Scale → total of a cell, for each scale on which all cells of ``block`` have the same total.

    Normalisation gives every cell the same total, which logarithms hide until the right inverse is taken: ``"none"``,
    ``"natural"`` for ``exp(x) - 1`` or ``"base 2"`` for ``2**x - 1``. Empty where genes were taken out after
    normalisation, or there are fewer than 3 cells with values. Values are not negative.
    """
    rows = sparse.csr_array(block[:N_CELLS], dtype=np.float64)
    rows = rows[np.asarray(rows.sum(axis=1)).ravel() > 0]
    if rows.shape[0] < 3 or rows.data.max() > np.log(np.finfo(float).max) / 2:
        return {}
    found = {}
    for scale, inverse in _INVERSE.items():
        totals = np.add.reduceat(inverse(rows.data), rows.indptr[:-1])
        if np.ptp(totals) < TOLERANCE * totals.mean():
            found[scale] = float(totals.mean())
    return found


def warn_of_scale(totals: Mapping[str, float], to_log2: float) -> None:
    """Warn where values multiplied by ``to_log2`` are not the logarithms to base 2 that they are taken for.

    Parameters
    ----------
    totals
        What :func:`constant_totals` found. Nothing is said unless one scale stands out.
    to_log2
        1 where values are taken to be to base 2, else what turns them into such.
    """
    if len(totals) != 1:
        return
    ((scale, total),) = totals.items()
    taken_as = "base 2" if to_log2 == 1 else "natural" if np.isclose(to_log2, 1 / np.log(2)) else "another base"
    if scale == "none":
        warn_user(
            f"Expression is taken as logarithms, but its values sum to {total:,.6g} in every cell, as normalised "
            "values do that are no logarithms. Run `sc.pp.log1p`, or hand over counts.",
            page="getting-started#what-the-file-has-to-hold",
        )
    elif scale == "natural" and taken_as == "base 2":
        warn_user(
            "Expression looks like natural logarithms, such as `sc.pp.log1p` makes, but is taken as logarithms to base "
            '2: there is no uns["log1p"] that says otherwise. Set `adata.uns["log1p"] = {"base": None}`, which holds '
            "for X and layers, or hand over counts.",
            page="getting-started#what-the-file-has-to-hold",
        )
    elif scale == "base 2" and taken_as != "base 2":
        warn_user(
            'Expression looks like logarithms to base 2, but uns["log1p"], which holds for X and layers, says that it '
            f"is to another base: values are multiplied by {to_log2:.3f} on the way to tokens. If it was not "
            '`sc.pp.log1p` that made them, set `adata.uns["log1p"] = {"base": 2}`.',
            page="getting-started#what-the-file-has-to-hold",
        )
    elif scale == taken_as and not EXPECTED_TOTAL / FACTOR <= total <= EXPECTED_TOTAL * FACTOR:
        warn_user(
            f"Expression is normalised to {total:,.6g} per cell, but scBERT's bins are of {EXPECTED_TOTAL:,.0f}: "
            "tokens come out on another scale. Run `sc.pp.normalize_total(adata, target_sum=1e4)` before "
            "`sc.pp.log1p`, or hand over counts.",
            page="getting-started#what-the-file-has-to-hold",
        )
