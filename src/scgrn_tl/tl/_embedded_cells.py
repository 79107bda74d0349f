"""Cells of an earlier embedding: their hidden states and attention, as stored or by encoding them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scgrn_tl.core import ArgumentError, MissingKeyError
from scgrn_tl.core.progress_bar import progress_bar

from ._encoded_again import READ_BYTES, EncodedCells, read_attention
from ._hidden_store import HiddenStore

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import torch
    from anndata import AnnData

    from ._cell_weighting import CellWeighting
    from ._stored_embedding import StoredEmbedding

__all__ = ["EmbeddedCells", "open_cells"]


def _attention_slot(adata: AnnData, key: str, embedding: StoredEmbedding) -> np.ndarray | None:
    """``obsm[f"{key}_attention"]``, if it is there and of the embedding's genes."""
    attention = adata.obsm.get(f"{key}_attention")
    if attention is not None and attention.shape[1] != len(embedding.genes):
        msg = (
            f"obsm[{key + '_attention'!r}] has {attention.shape[1]} columns, but uns[{key!r}]['genes'] names "
            f"{len(embedding.genes)} genes. Run `sg.tl.scbert_embed` again."
        )
        raise ArgumentError(msg)
    return attention


@dataclass(frozen=True, eq=False)
class StoredCells:
    """Hidden states from a zarr store, attention from ``obsm``."""

    store: HiddenStore
    rows_in_store: np.ndarray
    stored_attention: np.ndarray | None

    @classmethod
    def open(
        cls, adata: AnnData, path: str | os.PathLike[str], embedding: StoredEmbedding, attention: np.ndarray | None
    ) -> StoredCells:
        store = HiddenStore.open(path)
        if (genes := store.names("genes")) != embedding.genes:
            msg = (
                f"hidden={str(path)!r} holds {len(genes)} genes that are not the {len(embedding.genes)} of this "
                "embedding: it is of another run."
            )
            raise ArgumentError(msg)
        return cls(store, store.rows_of([str(name) for name in adata.obs_names]), attention)

    @property
    def dim(self) -> int:
        return int(self.store.array.shape[2])

    def attention(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return read_attention(self.stored_attention, cells)

    def hidden(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray]]:
        import torch

        n_genes = int(self.store.array.shape[1])
        step = max(1, READ_BYTES // (n_genes * self.dim * 4))
        # ascending rows of the store read each of its chunks once
        order = np.argsort(self.rows_in_store[cells])
        cells = cells[order]
        with progress_bar(total=len(cells), desc="Pooling", unit="cell") as bar:
            for place, states in self.store.batches(self.rows_in_store[cells], step):
                rows = cells[place]
                if not np.isfinite(states).all():
                    msg = (
                        f"{self.store.path} lacks hidden states of cells that were pooled: it is of another run. "
                        "Run `sg.tl.scbert_embed(adata, hidden_to=…)` again."
                    )
                    raise ArgumentError(msg)
                attention = self.stored_attention
                values = np.ones((len(rows), n_genes)) if attention is None else np.asarray(attention[rows])
                yield rows, torch.from_numpy(states), values
                bar.update(len(rows))


EmbeddedCells: TypeAlias = StoredCells | EncodedCells
"""What has ``dim``, and gives ``attention(cells)`` and ``hidden(cells)`` of ascending row numbers, batch by batch."""


def open_cells(
    adata: AnnData, key: str, embedding: StoredEmbedding, rule: CellWeighting, hidden: str | os.PathLike[str] | None
) -> EmbeddedCells:
    """The cells with their hidden states from the store ``hidden``, or else from the encoder."""
    attention = _attention_slot(adata, key, embedding)
    if hidden is None:
        return EncodedCells.open(adata, embedding, attention, otherwise="pass `hidden=`")
    if attention is None and rule.kind != "mean":
        msg = (
            f"Did not find obsm[{key + '_attention'!r}], which weighting={rule.kind!r} needs. Run "
            "`sg.tl.scbert_embed(adata, store_attention=True, …)`, use weighting='mean', or leave out `hidden=`."
        )
        raise MissingKeyError(msg)
    return StoredCells.open(adata, hidden, embedding, attention)
