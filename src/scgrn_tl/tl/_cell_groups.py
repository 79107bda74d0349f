"""Cells by a column of ``obs``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, MissingKeyError

from ._slots import clean_name

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CellGroups", "by_batch", "obs_column"]


def obs_column(adata: AnnData, key: str) -> pd.Series:
    """``adata.obs[key]`` in memory, also where ``adata`` is read lazily."""
    column = adata.obs[key]
    return column if isinstance(column, pd.Series) else adata.obs[[key]].to_memory()[key]


@dataclass(frozen=True, eq=False)
class CellGroups:
    """Which group each cell is in.

    Attributes
    ----------
    names
        Group names, fit for keys (``/`` became ``_``); groups without cells are left out.
    codes
        ``int64[N]``, each cell's place in ``names``; −1 for a cell whose value is missing.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    @classmethod
    def from_obs(cls, adata: AnnData, key: str, argument: str) -> CellGroups:
        """Read ``adata.obs[key]``.

        Raises
        ------
        MissingKeyError
            If there is no such column.
        ArgumentError
            If no cell has a value, or two values give the same name.
        """
        if key not in adata.obs:
            msg = f"Did not find obs[{key!r}] ({argument}=). There are: {list(adata.obs.columns)}."
            raise MissingKeyError(msg)
        values = pd.Categorical(obs_column(adata, key)).remove_unused_categories()
        names = tuple(clean_name(label) for label in values.categories)
        if not names:
            msg = f"obs[{key!r}] ({argument}=) has no value for any cell."
            raise ArgumentError(msg)
        if len(set(names)) < len(names):
            msg = f"Two values of obs[{key!r}] ({argument}=) give the same name once '/' is '_': rename one of them."
            raise ArgumentError(msg)
        return cls(names, values.codes.astype(np.int64))

    def masks(self) -> dict[str, np.ndarray]:
        """Group name → ``bool[N]``."""
        return {name: self.codes == code for code, name in enumerate(self.names)}


def by_batch(cells: np.ndarray, batches: CellGroups | None) -> dict[str, np.ndarray]:
    """``cells`` (``bool[N]``) of each batch that has any of them.

    Without ``batches`` they are one batch, ``""``; so are they, as none, where no cell of them is in a batch.
    """
    if batches is None:
        return {"": cells}
    parts = {name: cells & batch for name, batch in batches.masks().items()}
    return {name: part for name, part in parts.items() if part.any()} or {"": np.zeros_like(cells)}
