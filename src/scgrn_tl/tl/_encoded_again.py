"""An earlier embedding's cells, encoded again: its record, its encoder checked against its hash, the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scgrn_tl.core import ArgumentError, WeightsError, WeightsUnavailableError, resolve_device

from ._encode_cells import CellEncoder, default_batch_size
from ._encoder_source import EncoderSource, load_encoder
from ._token_stream import Expression, GeneSequence, TokenStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from anndata import AnnData

    from scgrn_tl.core import GeneVocabulary

    from ._stored_embedding import StoredEmbedding

__all__ = ["READ_BYTES", "EncodedCells", "read_attention"]

READ_BYTES = 2**26
"""Stored hidden states or attention read at a time."""


@dataclass(frozen=True, eq=False)
class EncodedCells:
    """Hidden states by encoding the cells again; attention from ``obsm``, or else from the encoder as well."""

    encoder: CellEncoder
    vocabulary: GeneVocabulary
    sequence: GeneSequence
    stored_attention: np.ndarray | None

    @classmethod
    def open(
        cls,
        adata: AnnData,
        embedding: StoredEmbedding,
        attention: np.ndarray | None,
        *,
        otherwise: str,
        device: str | None = None,
    ) -> EncodedCells:
        """The cells of ``adata`` and the encoder of an earlier embedding, on ``device``.

        Parameters
        ----------
        embedding
            What the earlier run left.
        attention
            Its ``obsm``, where that was stored.
        otherwise
            What the caller's user can do without the encoder, for error messages.
        device
            As of :func:`scgrn_tl.core.resolve_device`.
        """
        record = embedding.record
        params = record["params"]
        if adata.n_vars != int(record["cells"]["n_vars"]):
            msg = (
                f"The AnnData has {adata.n_vars} genes; it had {int(record['cells']['n_vars'])} when it was embedded. "
                f"So the same tokens cannot be made again. Run `sg.tl.scbert_embed` again, or {otherwise}."
            )
            raise ArgumentError(msg)
        expression = Expression.from_anndata(adata, params.get("layer"), bool(record["normalized"]))
        device = resolve_device(device)
        source = _load_again(record["weights"], expression, adata, device, otherwise)
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
        return cls(encoder, source.vocabulary, sequence, attention)

    @property
    def dim(self) -> int:
        return self.encoder.model.config.dim

    def attention(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.stored_attention is not None:
            yield from read_attention(self.stored_attention, cells)
            return
        for rows, encoding in self.encoder.run(cells, label="Encoding (attention)"):
            yield rows, encoding.attention.float().cpu().numpy()

    def hidden(self, cells: np.ndarray) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray]]:
        for rows, encoding in self.encoder.run(cells):
            attention = self.stored_attention
            values = encoding.attention.float().cpu().numpy() if attention is None else np.asarray(attention[rows])
            yield rows, encoding.hidden.cpu(), values


def _load_again(record: Any, expression: Expression, adata: AnnData, device: str, otherwise: str) -> EncoderSource:
    """The encoder that ``uns`` names, checked against its hash."""
    kind, path = str(record["kind"]), Path(str(record["path"]))
    weights: str | Path = path if path.exists() or kind == "path" else kind
    if kind == "path" and not path.exists():
        msg = f"The weights of the embedding, {path}, are gone. Put them back, or {otherwise}."
        raise WeightsUnavailableError(msg)
    source = load_encoder(weights, expression, adata.var_names, seed=int(record["fit_seed"]), device=device)
    if source.sha256 != str(record["sha256"]):
        msg = (
            f"{source.path} has SHA-256 {source.sha256}; the embedding was made with {record['sha256']}. "
            f"Put those weights back, run `sg.tl.scbert_embed` again, or {otherwise}."
        )
        raise WeightsError(msg)
    return source


def read_attention(attention: np.ndarray | None, cells: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows of stored attention in pieces that memory holds; nothing where none is stored."""
    if attention is None:
        return
    step = max(1, READ_BYTES // (8 * attention.shape[1]))
    for start in range(0, len(cells), step):
        rows = cells[start : start + step]
        yield rows, np.asarray(attention[rows])
