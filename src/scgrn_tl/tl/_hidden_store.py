"""Hidden states kept on disk (zarr), so that genes can be pooled anew without encoding again."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scgrn_tl.core import ArgumentError
from scgrn_tl.core.damaged import refuse_damaged

from ._cell_store import REWRITE, CellStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["HiddenStore"]


class HiddenStore(CellStore):
    """``hidden`` (cells × genes × width). Rows of cells that were not encoded are NaN and take no space on disk."""

    KIND: ClassVar[str] = "scgrn_tl hidden states"
    ARRAY: ClassVar[str] = "hidden"
    CONTENT: ClassVar[str] = "hidden states"
    WRITTEN_BY: ClassVar[str] = "hidden_to"
    READ_BY: ClassVar[str] = "hidden"
    FILL: ClassVar[float] = float("nan")

    def rows_of(self, obs_names: Sequence[str]) -> np.ndarray:
        """``int64``, the store's row of each named cell.

        Raises
        ------
        ArgumentError
            If a cell is not in the store, or names in it are not unique.
        """
        stored = self.names("obs_names")
        row_of = {name: row for row, name in enumerate(stored)}
        if len(row_of) < len(stored):
            msg = (
                "Cells are found in the hidden store by name, but obs_names are not unique. Run "
                "`adata.obs_names_make_unique()`, then `sg.tl.scbert_embed` again."
            )
            raise ArgumentError(msg)
        absent = [name for name in obs_names if name not in row_of]
        if absent:
            msg = (
                f"{len(absent)} cells are not in the hidden states at {str(self.path)!r} ({', '.join(absent[:3])}, …): "
                "they were written for another AnnData."
            )
            raise ArgumentError(msg)
        return np.array([row_of[name] for name in obs_names], dtype=np.int64)

    def batches(self, rows: np.ndarray, batch_size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """``float32 (B, T, D)`` of the store's ``rows``, in batches, with the batch's place among ``rows``."""
        for start in range(0, len(rows), batch_size):
            batch = slice(start, min(start + batch_size, len(rows)))
            with refuse_damaged(self.path, REWRITE):
                hidden = np.asarray(self.array[rows[batch]], dtype=np.float32)
            yield batch, hidden
