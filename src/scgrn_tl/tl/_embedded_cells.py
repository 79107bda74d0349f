"""Cells of an earlier embedding: their hidden states and attention, as stored or by encoding them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scgrn_tl.core import ArgumentError, MissingKeyError, WeightsError, WeightsUnavailableError, resolve_device

from ._cell_groups import obs_column
from ._encode_cells import CellEncoder, default_batch_size
from ._encoder_source import EncoderSource, load_encoder
from ._hidden_store import HiddenStore
from ._token_stream import Expression, GeneSequence, TokenStream

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import torch
    from anndata import AnnData

    from ._cell_weighting import CellWeighting

__all__ = ["EmbeddedCells", "Embedding", "open_cells", "read_embedding_record"]

READ_BYTES = 2**26
"""Hidden states read at a time."""


@dataclass(frozen=True, eq=False)
class Embedding:
    """What an earlier :func:`scbert_embed` left: its record, the T genes, and which cells were encoded."""

    record: Any
    genes: tuple[str, ...]
    pooled: np.ndarray

    @property
    def cells(self) -> np.ndarray:
        """Ascending row numbers of the encoded cells."""
        return np.flatnonzero(self.pooled)


def read_embedding_record(adata: AnnData, key: str) -> Embedding:
    """Of ``uns[key]`` and ``obs``; raises where no cell was encoded, or is left."""
    record = adata.uns.get(key)
    if not isinstance(record, dict) or "genes" not in record or f"{key}_pooled" not in adata.obs:
        msg = (
            f"Did not find uns[{key!r}] and obs[{key + '_pooled'!r}] of a gene embedding. "
            f"Run `sg.tl.scbert_embed(adata, key_added={key!r})` first."
        )
        raise MissingKeyError(msg)
    pooled = obs_column(adata, f"{key}_pooled").to_numpy(dtype=bool)
    if not pooled.any():
        msg = f"None of the cells left in this AnnData was encoded (obs[{key + '_pooled'!r}] is False for all)."
        raise ArgumentError(msg)
    return Embedding(record, tuple(map(str, record["genes"])), pooled)


def _attention_slot(adata: AnnData, key: str, embedding: Embedding) -> np.ndarray | None:
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
        cls, adata: AnnData, path: str | os.PathLike[str], embedding: Embedding, attention: np.ndarray | None
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
        return _stored_attention(self.stored_attention, cells)

    def hidden(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray]]:
        import torch
        from tqdm.auto import tqdm

        from scgrn_tl._settings import settings

        n_genes = int(self.store.array.shape[1])
        step = max(1, READ_BYTES // (n_genes * self.dim * 4))
        # ascending rows of the store read each of its chunks once
        order = np.argsort(self.rows_in_store[cells])
        cells = cells[order]
        with tqdm(total=len(cells), desc="Pooling", unit="cell", delay=2, disable=not settings.progress) as bar:
            for place, states in self.store.batches(self.rows_in_store[cells], step):
                rows = cells[place]
                if not np.isfinite(states).all():
                    msg = f"{self.store.path} lacks hidden states of cells that were pooled: it is of another run."
                    raise ArgumentError(msg)
                attention = self.stored_attention
                values = np.ones((len(rows), n_genes)) if attention is None else np.asarray(attention[rows])
                yield rows, torch.from_numpy(states), values
                bar.update(len(rows))


@dataclass(frozen=True, eq=False)
class EncodedCells:
    """Hidden states by encoding the cells again; attention from ``obsm``, or else from the encoder as well."""

    encoder: CellEncoder
    stored_attention: np.ndarray | None

    @classmethod
    def open(cls, adata: AnnData, embedding: Embedding, attention: np.ndarray | None) -> EncodedCells:
        record = embedding.record
        params = record["params"]
        if adata.n_vars != int(record["cells"]["n_vars"]):
            msg = (
                f"The AnnData has {adata.n_vars} genes; it had {int(record['cells']['n_vars'])} when it was embedded. "
                "So the same tokens cannot be made again. Pass `hidden=`, or run `sg.tl.scbert_embed` again."
            )
            raise ArgumentError(msg)
        expression = Expression.from_anndata(adata, params.get("layer"), bool(record["normalized"]))
        device = resolve_device(None)
        source = _load_again(record["weights"], expression, adata, device)
        absent = [gene for gene in embedding.genes if gene not in source.vocabulary]
        if absent:
            msg = f"The encoder does not know {len(absent)} genes of the embedding: run `sg.tl.scbert_embed` again."
            raise ArgumentError(msg)
        sequence = GeneSequence.of_names(adata, source.vocabulary, embedding.genes)
        if (sequence.columns < 0).any() and params.get("genes") != "vocabulary":
            msg = "Genes were renamed since the embedding was made: run `sg.tl.scbert_embed` again."
            raise ArgumentError(msg)
        dtype = str(params["dtype"])
        model = source.model.double() if dtype == "float64" else source.model
        encoder = CellEncoder(
            model=model.to(device).eval(),
            stream=TokenStream(expression, sequence.columns),
            positions=sequence.positions,
            batch_size=default_batch_size(source.model.config, len(sequence), device),
            device=device,
            dtype=dtype,
        )
        return cls(encoder, attention)

    @property
    def dim(self) -> int:
        return self.encoder.model.config.dim

    def attention(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.stored_attention is not None:
            yield from _stored_attention(self.stored_attention, cells)
            return
        for rows, encoding in self.encoder.run(cells, label="Encoding (ranking cells)"):
            yield rows, encoding.attention.float().cpu().numpy()

    def hidden(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray]]:
        for rows, encoding in self.encoder.run(cells):
            attention = self.stored_attention
            values = encoding.attention.float().cpu().numpy() if attention is None else np.asarray(attention[rows])
            yield rows, encoding.hidden.cpu(), values


EmbeddedCells: TypeAlias = StoredCells | EncodedCells
"""What has ``dim``, and gives ``attention(cells)`` and ``hidden(cells)`` of ascending row numbers, batch by batch."""


def open_cells(
    adata: AnnData, key: str, embedding: Embedding, rule: CellWeighting, hidden: str | os.PathLike[str] | None
) -> EmbeddedCells:
    """The cells with their hidden states from the store ``hidden``, or else from the encoder."""
    attention = _attention_slot(adata, key, embedding)
    if hidden is None:
        return EncodedCells.open(adata, embedding, attention)
    if attention is None and rule.kind != "mean":
        msg = (
            f"Did not find obsm[{key + '_attention'!r}], which weighting={rule.kind!r} needs. Run "
            "`sg.tl.scbert_embed(adata, store_attention=True, …)`, use weighting='mean', or leave out `hidden=`."
        )
        raise MissingKeyError(msg)
    return StoredCells.open(adata, hidden, embedding, attention)


def _load_again(record: Any, expression: Expression, adata: AnnData, device: str) -> EncoderSource:
    """The encoder that ``uns`` names, checked against its hash."""
    from pathlib import Path

    kind, path = str(record["kind"]), Path(str(record["path"]))
    weights: str | Path = path if path.exists() or kind == "path" else kind
    if kind == "path" and not path.exists():
        msg = f"The weights of the embedding, {path}, are gone. Put them back, or pass `hidden=`."
        raise WeightsUnavailableError(msg)
    source = load_encoder(weights, expression, adata.var_names, seed=int(record["fit_seed"]), device=device)
    if source.sha256 != str(record["sha256"]):
        msg = (
            f"{source.path} has SHA-256 {source.sha256}; the embedding was made with {record['sha256']}. "
            "Put those weights back, pass `hidden=`, or run `sg.tl.scbert_embed` again."
        )
        raise WeightsError(msg)
    return source


def _stored_attention(attention: np.ndarray | None, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    if attention is None:
        return
    step = max(1, READ_BYTES // (8 * attention.shape[1]))
    for start in range(0, len(cells), step):
        rows = cells[start : start + step]
        yield rows, np.asarray(attention[rows])
