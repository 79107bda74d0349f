"""What an earlier gene embedding left in an AnnData."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, MissingKeyError

from ._cell_groups import obs_column

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["StoredEmbedding", "read_stored_embedding"]


@dataclass(frozen=True, eq=False)
class StoredEmbedding:
    """What an earlier :func:`scbert_embed` left: its record, the T genes, and which cells were encoded."""

    record: Any
    genes: tuple[str, ...]
    pooled: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """Ascending row numbers of the encoded cells."""
        return np.flatnonzero(self.pooled)


def read_stored_embedding(adata: AnnData, key: str) -> StoredEmbedding:
    """What is stored under ``key``.

    Raises
    ------
    MissingKeyError
        If :func:`scbert_embed` was not run.
    ArgumentError
        If none of its cells is left.
    """
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "genes" not in record or f"{key}_pooled" not in adata.obs:
        msg = (
            f"Did not find uns[{key!r}] and obs[{key + '_pooled'!r}] of a gene embedding. "
            f"Run `sg.tl.scbert_embed(adata, key_added={key!r})` first."
        )
        raise MissingKeyError(msg)
    pooled = obs_column(adata, f"{key}_pooled").to_numpy(dtype=bool)
    if not pooled.any():
        msg = (
            f"None of the cells left in this AnnData was encoded (obs[{key + '_pooled'!r}] is False for all). "
            "Run `sg.tl.scbert_embed` on them."
        )
        raise ArgumentError(msg)
    return StoredEmbedding(record, tuple(map(str, record["genes"])), pooled)
