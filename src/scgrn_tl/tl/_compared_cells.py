"""The cells of two groups that can be compared: those of strata in which there are cells of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.names import did_you_mean
from scgrn_tl.core.slots import clean_name
from scgrn_tl.core.user_warning import warn_user

from ._cell_groups import CellGroups

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData

__all__ = ["ComparedCells", "choose_groups", "compared_cells"]

REST = "rest"
FEWEST_OF_STRATUM = 2
"""Of each group: a cell alone is its own mean, and nothing is left of it once that is taken away."""


@dataclass(frozen=True, eq=False)
class ComparedCells:
    """Cells of a group and of what it is compared with.

    Attributes
    ----------
    cells
        ``int64[n]``, ascending places in the AnnData.
    in_group
        ``bool[n]``; the others are the reference.
    strata
        ``int64[n]``, each cell's stratum.
    n_left_out
        Cells of both groups that are not among these.
    """

    cells: np.ndarray
    in_group: np.ndarray
    strata: np.ndarray
    n_left_out: int

    @property
    def centring(self) -> np.ndarray:
        """``int64[n]``, cells of one stratum and group have one number: they are centred together."""
        _, number = np.unique(self.strata * 2 + self.in_group, return_inverse=True)
        return np.asarray(number, dtype=np.int64)


def choose_groups(groups: CellGroups, group: str | None, reference: str | None, *, groupby: str) -> tuple[str, str]:
    """Names of the group and its reference; of two groups, the second is held against the first.

    Raises
    ------
    ArgumentError
        If there is one group only, a name is not there, both are the same, or it is not told which of several groups
        are meant.
    """
    names, labels = groups.names, ", ".join(map(repr, groups.labels))
    if len(names) == 1:
        msg = (
            f"obs[{groupby!r}] (groupby=) has one group only, {labels}: there is nothing to compare it with. Name a "
            "column that tells at least two groups of cells apart."
        )
        raise ArgumentError(msg, page="groups")
    if group is None and reference is None and len(names) == 2:
        return names[1], names[0]
    if group is None:
        msg = (
            f"obs[{groupby!r}] (groupby=) has {len(names)} groups: {labels}. Say which to compare with which: "
            "`group=`, and `reference=` (another one, or 'rest')."
        )
        raise ArgumentError(msg, page="groups")
    chosen, against = clean_name(group), REST if reference is None else clean_name(reference)
    for argument, name, given in (("group", chosen, group), ("reference", against, reference)):
        if name not in names and not (argument == "reference" and name == REST):
            msg = (
                f"{argument}={given!r} is no group of obs[{groupby!r}].{did_you_mean(str(given), groups.labels)} "
                f"There are {labels}."
            )
            raise ArgumentError(msg, page="groups")
    if chosen == against:
        msg = (
            f"group and reference are both {chosen!r}: there is nothing to compare. "
            "Name another group, or reference='rest'."
        )
        raise ArgumentError(msg, page="groups")
    return chosen, against


def compared_cells(
    adata: AnnData,
    groups: CellGroups,
    group: str,
    reference: str,
    strata: Iterable[str],
    *,
    min_cells: int,
) -> ComparedCells:
    """The cells of both groups, in strata that have cells of both; warns of cells that are left out.

    Raises
    ------
    MissingKeyError
        If a column of ``strata`` is not there.
    ArgumentError
        If fewer than ``min_cells`` cells of either group are left.
    """
    code = groups.names.index(group)
    in_group = groups.codes == code
    in_reference = (
        groups.codes == groups.names.index(reference) if reference in groups.names else (groups.codes >= 0) & ~in_group
    )
    stratum = np.zeros(adata.n_obs, dtype=np.int64)
    for column in strata:
        parts = CellGroups.from_obs(adata, column, "strata", most=None)
        stratum = np.where((stratum < 0) | (parts.codes < 0), -1, stratum * len(parts.names) + parts.codes)
    usable = (in_group | in_reference) & (stratum >= 0)
    for number in np.unique(stratum[usable]):
        here = usable & (stratum == number)
        if min(np.sum(here & in_group), np.sum(here & in_reference)) < FEWEST_OF_STRATUM:
            usable &= ~here
    n_left_out = int(((in_group | in_reference) & ~usable).sum())
    where = " in strata with cells of both groups" if n_left_out else ""
    sizes = {group: int((usable & in_group).sum()), reference: int((usable & in_reference).sum())}
    if few := [name for name, size in sizes.items() if size < min_cells]:
        msg = (
            f"Group {groups.shown(few[0])!r} has {sizes[few[0]]} cells{where}; at least {min_cells} are needed "
            "(min_cells=)."
        )
        raise ArgumentError(msg, page="groups")
    if n_left_out:
        n_all = int((in_group | in_reference).sum())
        warn_user(
            f"{n_left_out:,} of {n_all:,} cells are left out: their stratum has fewer than {FEWEST_OF_STRATUM} cells "
            "of either group, or they are in none (strata=).",
            page="groups",
        )
    cells = np.flatnonzero(usable)
    number = np.unique(stratum[cells], return_inverse=True)[1].astype(np.int64)
    return ComparedCells(cells, in_group[cells], number, n_left_out)
