"""Where a gene embedding comes from: its encoder, as far as the AnnData tells, and a hash of its vectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .gene_embedding import read_embedding

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from anndata import AnnData

__all__ = ["EmbeddingSource", "embedding_sha256"]


@dataclass(frozen=True)
class EmbeddingSource:
    """One gene embedding that a model was fitted with. What is not known is ``None``.

    Attributes
    ----------
    key
        Of ``varm``.
    width
        Dimensions.
    sha256
        Of its vectors, see :func:`embedding_sha256`.
    encoder
        The encoder's weights: ``"panglao"``, or the last names of the path of others.
    encoder_sha256
        Hash of these weights.
    pooled_by
        How the vectors of cells were pooled: ``"attention"``, ``"mean"``, …
    """

    key: str | None
    width: int
    sha256: str | None = None
    encoder: str | None = None
    encoder_sha256: str | None = None
    pooled_by: str | None = None

    @classmethod
    def read(cls, adata: AnnData, key: str) -> EmbeddingSource:
        """What ``varm[key]`` and the record that was written beside it tell."""
        vectors = read_embedding(adata, key)
        record = _record_of(adata, key)
        params = record.get("params", {})
        weights = record.get("weights") or _record_of(adata, str(params.get("key"))).get("weights") or {}
        encoder = weights.get("kind")
        pooled = params.get("weighting", params.get("pool"))
        return cls(
            key=key,
            width=vectors.shape[1],
            sha256=embedding_sha256(vectors),
            encoder=cls.name_of(weights["path"]) if encoder in {"path", "fit"} else _text(encoder),
            encoder_sha256=_text(weights.get("sha256")),
            pooled_by="mean" if key.endswith("_mean") and record else _text(pooled),
        )

    @staticmethod
    def name_of(path: str | os.PathLike[str]) -> str:
        """Name of an encoder in that file or folder: where it was on somebody's disk is nobody else's business."""
        return "/".join(Path(path).parts[-2:])


def _record_of(adata: AnnData, key: str) -> Mapping[str, Any]:
    """``uns`` entry of the embedding ``key``, or of that of which it is a variant (``scbert_mean``, of a group)."""
    names = [key, *(str(name) for name in adata.uns if key.startswith(f"{name}_"))]
    for name in sorted(names, key=len, reverse=True):
        record = adata.uns.get(name)
        if isinstance(record, dict) and isinstance(record.get("params"), dict):
            return record
    return {}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def embedding_sha256(vectors: np.ndarray) -> str:
    """Hash of ``float32 (G, D)``, whatever the order of the genes."""
    plain = np.where(np.isnan(vectors), np.float32(np.nan), vectors)  # one NaN like another
    rows = sorted(hashlib.sha256(row.tobytes()).digest() for row in np.ascontiguousarray(plain))
    return hashlib.sha256(b"".join(rows)).hexdigest()
