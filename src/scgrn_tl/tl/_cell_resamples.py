"""Cells drawn with replacement: a bootstrap replicate is how often each cell counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core import ArgumentError

from ._cell_groups import CellGroups

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

__all__ = ["CellResampling"]


class CellResampling:
    """What is drawn with replacement: cells or whole units of them, each stratum by itself.

    Parameters
    ----------
    adata
        Whose ``obs`` has the columns.
    unit
        Column of the units, such as donors, that are drawn as a whole; ``None`` for single cells.
    strata
        Column of groups each of which keeps its number of units; ``None`` for all cells as one.

    Raises
    ------
    MissingKeyError
        If a column is not there.
    ArgumentError
        If a cell has no value in a column, there are fewer than two units, or a unit is in two strata.
    """

    def __init__(self, adata: AnnData, *, unit: str | None, strata: str | None) -> None:
        self.unit_of = np.arange(adata.n_obs) if unit is None else _codes(adata, unit, "unit")  # (N,)
        n_units = int(self.unit_of.max(initial=-1)) + 1
        if n_units < 2:
            what = "1 cell" if unit is None else f"1 value of obs[{unit!r}] (unit=)"
            msg = (
                f"There is only {what} to draw from: a bootstrap needs at least 2. "
                "Draw cells in place of units, `unit=None`, or give more of them."
            )
            raise ArgumentError(msg)
        self.stratum_of = np.zeros(n_units, dtype=np.int64)  # of each unit
        if strata is not None:
            of_cell = _codes(adata, strata, "strata")
            self.stratum_of[self.unit_of] = of_cell
            if (self.stratum_of[self.unit_of] != of_cell).any():
                msg = (
                    f"A unit of obs[{unit!r}] (unit=) has cells in more than one stratum of obs[{strata!r}] (strata=). "
                    "Leave strata out, or make units that lie within strata."
                )
                raise ArgumentError(msg)

    @property
    def n_units(self) -> int:
        """How many units there are to draw."""
        return len(self.stratum_of)

    def draw(self, seeds: Sequence[int]) -> np.ndarray:
        """How often each cell counts in each replicate, ``int32 (K, N)``: a seed for every replicate."""
        members = [np.flatnonzero(self.stratum_of == number) for number in np.unique(self.stratum_of)]
        counts = np.zeros((len(seeds), self.n_units), dtype=np.int32)
        for row, seed in zip(counts, seeds, strict=True):
            generator = np.random.default_rng(seed)
            for units in members:
                row[units] = np.bincount(generator.integers(len(units), size=len(units)), minlength=len(units))
        return counts[:, self.unit_of]


def _codes(adata: AnnData, column: str, argument: str) -> np.ndarray:
    groups = CellGroups.from_obs(adata, column, argument, most=None)
    if n_without := int((groups.codes < 0).sum()):
        msg = f"{n_without:,} cells have no value in obs[{column!r}] ({argument}=). Give them one, or leave them out."
        raise ArgumentError(msg)
    return groups.codes
