"""Gene embeddings of a registered AnnData, pooled over cells, each batch weighing the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scvi import REGISTRY_KEYS

from scgrn_tl.core.errors import ArgumentError

from .pooling import GenePool, mean_of_pools
from .scbert_cells import cell_loader
from .threads import threads_for

if TYPE_CHECKING:
    from scvi.data import AnnDataManager

    from .masked_expression import CellTokenizer
    from .scbert import ScBERT

__all__ = ["ALL_CELLS", "pooled_embeddings"]

ALL_CELLS = ""
"""Name of the embedding over cells of all labels."""


def pooled_embeddings(
    encoder: ScBERT,
    manager: AnnDataManager,
    tokenizer: CellTokenizer,
    *,
    indices: np.ndarray | list[int] | None,
    pool: str,
    by_label: bool,
    batch_size: int,
) -> dict[str, np.ndarray]:
    """Encode cells and pool them; see :meth:`ScBERTModel.get_gene_embedding`.

    Returns
    -------
    ``float32 (G, D)`` of each label that cells have, or under :data:`ALL_CELLS` of all cells together. NaN where the
    encoder does not know a gene, and everywhere without a cell that expresses anything.
    """
    if by_label and manager.registry["setup_args"]["labels_key"] is None:
        msg = "by_label=True needs labels: pass labels_key= to `ScBERTModel.setup_anndata`."
        raise ArgumentError(msg)
    indices = None if indices is None else _rows(indices, manager.adata.n_obs)
    if batch_size < 1:
        msg = f"batch_size is a number of cells above 0, not {batch_size!r}."
        raise ArgumentError(msg)
    if pool not in {"attention", "mean"}:
        msg = f"pool is 'attention' or 'mean', not {pool!r}."
        raise ArgumentError(msg)
    positions = torch.from_numpy(tokenizer.positions).to(encoder.device)
    pools: dict[int, dict[int, GenePool]] = {}  # label → batch → pool
    for cells in cell_loader(manager, indices, batch_size=batch_size):
        values = cells[REGISTRY_KEYS.X_KEY].numpy()
        expressed = (values > 0).any(axis=1)  # cells without counts have no say
        if not expressed.any():
            continue
        tokens = torch.from_numpy(tokenizer(values[expressed])).to(encoder.device)
        with threads_for(tokens.numel() * encoder.config.dim):
            hidden, attention = encoder.encode(tokens, positions)
        batches = cells[REGISTRY_KEYS.BATCH_KEY].view(-1)[expressed]
        labels = cells[REGISTRY_KEYS.LABELS_KEY].view(-1)[expressed] if by_label else torch.zeros_like(batches)
        for label, batch in torch.stack([labels, batches], dim=1).unique(dim=0).tolist():
            inside = ((labels == label) & (batches == batch)).to(hidden.device)
            own = pools.setdefault(label, {}).setdefault(batch, GenePool(len(positions), encoder.config.dim))
            own.update(hidden[inside], attention[inside] if pool == "attention" else None)
    names = manager.get_state_registry(REGISTRY_KEYS.LABELS_KEY).categorical_mapping
    found: dict[str, np.ndarray] = {}
    if not by_label:
        found[ALL_CELLS] = np.full((manager.adata.n_vars, encoder.config.dim), np.nan, dtype=np.float32)
    for label in sorted(pools):
        values = np.full((manager.adata.n_vars, encoder.config.dim), np.nan, dtype=np.float32)
        values[tokenizer.columns] = mean_of_pools(pools[label].values())
        found[str(names[label]) if by_label else ALL_CELLS] = values
    return found


def _rows(indices: np.ndarray | list[int], n_cells: int) -> np.ndarray:
    """Rows ``int64 (n,)`` of cells, which a mask ``bool (N,)`` may name too."""
    rows = np.asarray(indices)
    if rows.dtype == bool and rows.shape == (n_cells,):
        return np.flatnonzero(rows)
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or ((rows < 0) | (rows >= n_cells)).any():
        msg = f"indices are rows of the AnnData, whole numbers from 0 to {n_cells - 1}, or a mask; not {indices!r}."
        raise ArgumentError(msg)
    return rows.astype(np.int64)
