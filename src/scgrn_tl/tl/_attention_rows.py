"""Every cell's attention, gathered in memory or written to disk as it comes."""

from __future__ import annotations

import logging
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from scgrn_tl._settings import settings
from scgrn_tl.core import available_memory

from ._cell_store import CellStore

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from scgrn_tl.models.processes import Processes

__all__ = ["AttentionInMemory", "AttentionStore", "attention_rows", "fits_in_memory"]

LOGGER = logging.getLogger(__name__)

SHARE = 0.25
"""Share of the available memory that attention may take."""


class AttentionInMemory:
    """An array; rows of cells that were not encoded are zero."""

    def __init__(self, n_cells: int, n_genes: int) -> None:
        self.array = np.zeros((n_cells, n_genes), dtype=np.float32)
        self.held_bytes = self.array.nbytes

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Put ``values`` at ``rows``."""
        self.array[rows] = values

    def result(self) -> np.ndarray:
        """The array."""
        return self.array


class AttentionStore(CellStore):
    """A zarr store with ``attention`` (cells × genes); rows of cells that were not encoded are zero."""

    KIND: ClassVar[str] = "scgrn_tl attention"
    ARRAY: ClassVar[str] = "attention"
    CONTENT: ClassVar[str] = "attention"
    WRITTEN_BY: ClassVar[str] = "attention_to"
    READ_BY: ClassVar[str] = "attention"
    FILL: ClassVar[float] = 0.0
    held_bytes: ClassVar[int] = 0

    def result(self) -> Any:
        """A dask array that reads the store when it is asked for values."""
        import dask.array

        return dask.array.from_zarr(self.array)  # type: ignore[no-untyped-call]


def fits_in_memory(n_cells: int, n_genes: int, n_processes: int = 1) -> bool:
    """Whether attention takes no more than a fixed share of the memory that is available now."""
    return n_cells * n_genes * 4 * n_processes <= SHARE * available_memory()


@contextmanager
def attention_rows(
    path: str | os.PathLike[str] | None,
    obs_names: pd.Index,
    genes: Sequence[str],
    *,
    continued: bool,
    processes: Processes,
) -> Iterator[AttentionInMemory | AttentionStore]:
    """Where attention goes: to ``path``; or else to memory, if it fits, and to a folder in the cache if it does not.

    That folder is removed where the block fails.
    """
    shape = len(obs_names), len(genes)
    chosen = None
    if path is None:
        chosen = path = processes.once(lambda: None if fits_in_memory(*shape, processes.size) else _new_folder(*shape))
    if path is None:
        yield AttentionInMemory(*shape)
        return
    try:
        yield AttentionStore.shared(path, obs_names, genes, dtype=np.float32, continued=continued, processes=processes)
    except BaseException:
        if chosen is not None and processes.is_first:
            shutil.rmtree(chosen, ignore_errors=True)
        raise


def _new_folder(n_cells: int, n_genes: int) -> Path:
    parent = settings.cache_dir / "attention"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="attention-", suffix=".zarr", dir=parent))
    LOGGER.warning(
        "Attention (%s cells × %s genes, %.1f GB) is too large for memory and is written to %s, which the AnnData then "
        "reads from: delete it once you have saved the AnnData. Name another place with attention_to=, or leave "
        "attention out with store_attention=False.",
        f"{n_cells:,}",
        f"{n_genes:,}",
        n_cells * n_genes * 4 / 1e9,
        folder,
    )
    return folder
