"""Cells by a column of ``obs``."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scgrn_tl.core import ArgumentError, MissingKeyError
from scgrn_tl.core.names import did_you_mean
from scgrn_tl.core.slots import clean_name

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CellGroups", "by_batch", "obs_column", "rename_advice"]

MOST_GROUPS = 200
"""Each gets results of its own: of a column of more values, these are hardly groups."""


def obs_column(adata: AnnData, key: str) -> pd.Series:
    """``adata.obs[key]`` in memory, also where ``adata`` is read lazily."""
    column = adata.obs[key]
    return column if isinstance(column, pd.Series) else adata.obs[[key]].to_memory()[key]


def rename_advice(key: str, label: str) -> str:
    """The call that gives a group of ``obs[key]`` another name, whatever the column's dtype."""
    renamed = f"{label.replace('/', ' ')} cells"
    return f"`adata.obs[{key!r}] = adata.obs[{key!r}].astype(object).replace({{{label!r}: {renamed!r}}})`"


@dataclass(frozen=True, eq=False)
class CellGroups:
    """Which group each cell is in.

    Attributes
    ----------
    names
        Group names, fit for keys (``/`` became ``_``); groups without cells are left out.
    labels
        The same as they stand in ``obs``, to be shown.
    codes
        ``int64[N]``, each cell's place in ``names``; −1 for a cell whose value is missing.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    codes: np.ndarray

    @classmethod
    def from_obs(cls, adata: AnnData, key: str, argument: str, *, most: int | None = MOST_GROUPS) -> CellGroups:
        """Read ``adata.obs[key]``.

        Parameters
        ----------
        adata
            Cells × genes.
        key, argument
            The column, and the argument that named it.
        most
            More groups are refused; ``None`` where their number costs nothing.

        Raises
        ------
        MissingKeyError
            If there is no such column.
        ArgumentError
            If no cell has a value, values are measurements or too many, or two values give the same name.
        """
        if key not in adata.obs:
            columns = list(map(str, adata.obs.columns))
            msg = f"Did not find obs[{key!r}] ({argument}=).{did_you_mean(str(key), columns)} There are: {columns}."
            raise MissingKeyError(msg)
        column = obs_column(adata, key)
        _check_discrete(column, key, argument)
        values = pd.Categorical(column).remove_unused_categories()
        labels = tuple(map(str, values.categories))
        names = tuple(map(clean_name, labels))
        if not names:
            msg = f"obs[{key!r}] ({argument}=) has no value for any cell. Name another column."
            raise ArgumentError(msg)
        if most is not None and len(names) > most:
            msg = (
                f"obs[{key!r}] ({argument}=) has {len(names):,} different values, such as {labels[0]!r} and "
                f"{labels[1]!r}; more than {most} groups are refused. Give a column of cell types, clusters or "
                "conditions, or merge groups into one."
            )
            raise ArgumentError(msg)
        if len(set(names)) < len(names):
            alike = [label for label, name in zip(labels, names, strict=True) if names.count(name) > 1]
            twice = max(alike, key=lambda label: "/" in label)
            msg = (
                f"Two values of obs[{key!r}] ({argument}=) give the same name once '/' is '_'. Rename one of them: "
                f"{rename_advice(key, twice)}."
            )
            raise ArgumentError(msg)
        return cls(names, labels, values.codes.astype(np.int64))

    def masks(self) -> dict[str, np.ndarray]:
        """Group name → ``bool[N]``."""
        return {name: self.codes == code for code, name in enumerate(self.names)}

    def shown(self, name: str) -> str:
        """The label that a name stands for; ``name`` itself where it is no group's."""
        return self.labels[self.names.index(name)] if name in self.names else name

    def sha256(self) -> str:
        """Hash of the groups' names and each cell's group, whatever order the groups are counted in."""
        order = np.argsort(np.array(self.names, dtype=object))
        place = np.full(len(self.names) + 1, -1, dtype="<i8")  # the last is that of no group, code −1
        place[order] = np.arange(len(order))
        digest = hashlib.sha256("\n".join(sorted(self.names)).encode())
        digest.update(place[self.codes].tobytes())
        return digest.hexdigest()


def _check_discrete(column: pd.Series, key: str, argument: str) -> None:
    """Refuse measurements: each of their values would be a group of a cell or two."""
    if not pd.api.types.is_float_dtype(column.dtype):
        return
    given = column.dropna().to_numpy(dtype=np.float64)
    if (broken := given[given != np.floor(given)]).size:
        msg = (
            f"obs[{key!r}] ({argument}=) holds numbers such as {broken[0]:.4g}, {len(np.unique(given)):,} different "
            f"ones, and no groups. Bin them: `adata.obs['{key}_bin'] = pd.cut(adata.obs[{key!r}], 3, "
            "labels=['low', 'middle', 'high'])`."
        )
        raise ArgumentError(msg)


def by_batch(cells: np.ndarray, batches: CellGroups | None) -> dict[str, np.ndarray]:
    """``cells`` (``bool[N]``) of each batch that has any of them.

    Without ``batches`` they are one batch, ``""``; so are they, as none, where no cell of them is in a batch.
    """
    if batches is None:
        return {"": cells}
    parts = {name: cells & batch for name, batch in batches.masks().items()}
    return {name: part for name, part in parts.items() if part.any()} or {"": np.zeros_like(cells)}
