"""What has to hold of :func:`scbert_embed`'s arguments before anything long begins."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scgrn_tl.core import ArgumentError, ExpressionError, check_unique_genes
from scgrn_tl.core.slots import check_key

from ._attention_rows import AttentionStore
from ._cell_groups import CellGroups, rename_advice
from ._encoder_source import check_weights
from ._hidden_store import HiddenStore
from ._token_stream import check_listed_genes

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

    from anndata import AnnData

__all__ = ["check_arguments", "check_batches", "check_paths", "choose_cells"]

LOGGER = logging.getLogger(__name__)


def check_arguments(
    adata: AnnData,
    weights: str | os.PathLike[str],
    genes: Iterable[str] | str | None,
    pool: str,
    groupby: str | None,
    batch_key: str | None,
    n_cells: int | None,
    batch_size: int | None,
    min_overlap: float,
    key_added: str,
) -> tuple[CellGroups | None, CellGroups | None]:
    """Raise before anything long begins; return the groups and the batches of cells."""
    check_key("key_added", key_added)
    check_weights(weights)
    if pool not in {"attention", "mean"}:
        msg = f"pool is 'attention' or 'mean', not {pool!r}."
        raise ArgumentError(msg)
    for name, number in (("n_cells", n_cells), ("batch_size", batch_size)):
        if number is not None and (not isinstance(number, (int, np.integer)) or number < 1):
            msg = f"{name} is a whole number of at least 1, or None; not {number!r}."
            raise ArgumentError(msg)
    if not 0 <= min_overlap <= 1:
        msg = f"min_overlap is a share between 0 and 1, not {min_overlap!r}."
        raise ArgumentError(msg)
    check_unique_genes([str(name) for name in adata.var_names])
    check_listed_genes(adata, genes)
    groups = None if groupby is None else CellGroups.from_obs(adata, groupby, "groupby")
    batches = None if batch_key is None else CellGroups.from_obs(adata, batch_key, "batch_key", most=None)
    if groups is not None and "mean" in groups.names:
        msg = (
            f"A group of obs[{groupby!r}] (groupby=) is called 'mean', the name of the plain average. Rename it: "
            f"{rename_advice(str(groupby), 'mean')}."
        )
        raise ArgumentError(msg)
    return groups, batches


def check_paths(
    *,
    store_attention: bool,
    attention_to: str | os.PathLike[str] | None,
    hidden_to: str | os.PathLike[str] | None,
) -> None:
    """Raise where a store could not be written, before anything is computed for it."""
    if attention_to is not None:
        if not store_attention:
            msg = "attention_to names a place for attention, but store_attention=False leaves it out: give one of both."
            raise ArgumentError(msg)
        if hidden_to is not None and Path(attention_to).resolve() == Path(hidden_to).resolve():
            msg = (
                f"attention_to and hidden_to are both {str(attention_to)!r}; each needs a path of its own. "
                "Change one of them."
            )
            raise ArgumentError(msg)
        AttentionStore.check_replaceable(attention_to)
    if hidden_to is not None:
        HiddenStore.check_replaceable(hidden_to)


def check_batches(batches: CellGroups | None, cells: np.ndarray, batch_key: str | None) -> None:
    """Raise if none of the ``cells`` to be encoded is in a batch; say how many are in none."""
    if batches is None:
        return
    outside = int((batches.codes[cells] < 0).sum())
    if outside == len(cells):
        msg = f"obs[{batch_key!r}] (batch_key=) has no value for any of the {outside:,} cells to be encoded."
        raise ArgumentError(msg)
    if outside:
        LOGGER.info("%s cells without a value in obs[%r] are not pooled.", f"{outside:,}", batch_key)


def choose_cells(empty: np.ndarray, n_cells: int | None, seed: int, *, warn: bool) -> np.ndarray:
    """Ascending row numbers of the cells to encode; warns of those without counts."""
    cells = np.flatnonzero(~empty)
    if not len(cells):
        msg = "Every cell is empty: there is no expression to embed. Name the layer that holds expression (`layer=`)."
        raise ExpressionError(msg)
    if warn and empty.any():
        warnings.warn(
            f"{int(empty.sum()):,} of {len(empty):,} cells have no counts; they are kept out of pooling, and their "
            "attention is uniform. `scanpy.pp.filter_cells(adata, min_counts=1)` drops such cells.",
            UserWarning,
            stacklevel=3,
        )
    if n_cells is None or n_cells >= len(cells):
        return cells
    return np.sort(np.random.default_rng(seed).choice(cells, n_cells, replace=False))
