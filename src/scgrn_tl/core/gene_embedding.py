"""Gene embeddings of an AnnData: a matrix in ``varm``, or several of them side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from .argument_types import typed_arguments
from .errors import ArgumentError, MissingKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

__all__ = ["JoinedEmbedding", "check_embeddings", "embedding_keys", "join_embeddings", "read_embedding", "same_vectors"]

_SAME = 1e-3
"""Of the spread: encoded twice, an embedding differs by rounding."""


class JoinedEmbedding(NamedTuple):
    """Embeddings side by side, as a :class:`~scgrn_tl.core.GRNTask` takes them."""

    values: np.ndarray
    """``float32 (G, D)``; NaN where a gene has no vector in one of them."""
    widths: tuple[int, ...]
    """Width of each; empty for a single one."""


def embedding_keys(use_rep: str | Iterable[str] | None) -> tuple[str, ...]:
    """The keys of ``varm`` that ``use_rep`` names.

    Raises
    ------
    ArgumentError
        If it is neither a key, nor a list of different ones, nor ``None``.
    """
    if use_rep is None:
        return ()
    is_matrix = getattr(use_rep, "ndim", 1) != 1 or isinstance(use_rep, pd.DataFrame)
    listed = isinstance(use_rep, Iterable) and not is_matrix
    keys = (use_rep,) if isinstance(use_rep, str) else tuple(use_rep) if listed else ()
    if not keys or not all(isinstance(key, str) for key in keys) or len(set(keys)) < len(keys):
        given = repr(use_rep)
        if is_matrix:
            given = (
                f"a {type(use_rep).__name__}. Put it there first: `adata.varm['my_embedding'] = …`, genes × dimensions"
            )
        msg = f"use_rep is a key of .varm, a list of different keys, or None for no embedding; not {given}."
        raise ArgumentError(msg, page="other-encoders")
    return tuple(map(str, keys))


def check_embeddings(adata: AnnData, keys: Sequence[str]) -> None:
    """Raise :class:`MissingKeyError` unless all ``keys`` are in ``varm``."""
    if missing := [key for key in keys if key not in adata.varm]:
        names = ", ".join(f".varm[{key!r}]" for key in missing)
        msg = f"Did not find {names}. {_way_to(adata, missing[0])} Keys of .varm: {sorted(adata.varm)}."
        raise MissingKeyError(msg, page="other-encoders")


def _way_to(adata: AnnData, key: str) -> str:
    """How a gene embedding gets under ``key``."""
    if key in adata.obsm:
        return f".obsm[{key!r}] is an embedding of cells; use_rep names one of genes, in .varm."
    if key in {"scbert", "scbert_mean"}:
        return "Run `sg.tl.scbert_embed` first."
    way = f"`adata.varm[{key!r}] = vectors.reindex(adata.var_names).to_numpy()` of a DataFrame whose rows are genes"
    made = f", or `sg.tl.scbert_embed(adata, key_added={key!r})`" if key.startswith("scbert") else ""
    return f"Put it there by {way}{made}."


@typed_arguments
def read_embedding(adata: AnnData, key: str) -> np.ndarray:
    """``adata.varm[key]`` as ``float32 (G, D)``; a gene without a vector has a row of NaN.

    A DataFrame, a sparse matrix (what it does not store is 0) or an array.

    Raises
    ------
    MissingKeyError
        If it is not there.
    ArgumentError
        If it is no matrix of real numbers, or no gene has a vector in it.
    """
    check_embeddings(adata, [key])
    values = _as_floats(adata.varm[key], key)
    if values.ndim != 2 or values.shape[1] == 0:
        msg = f".varm[{key!r}] is genes × dimensions, not of shape {values.shape}."
        raise ArgumentError(msg, page="other-encoders")
    if not np.isfinite(values).all(axis=1).any():
        msg = (
            f"The gene embedding .varm[{key!r}] has no gene with finite values. If it was aligned by name, its names "
            f"may be of another kind than adata.var_names ({', '.join(map(repr, adata.var_names[:3]))}, …), such as "
            "Ensembl ids where those are symbols. "
            "Bring them together by `sg.pp.resolve_names(names, vocabulary=adata.var_names)`."
        )
        raise ArgumentError(msg, page="other-encoders")
    return np.ascontiguousarray(values)


def same_vectors(vectors: np.ndarray, stored: np.ndarray) -> bool:
    """Whether ``vectors`` ``(G, D)`` are the ``stored`` ones, up to the rounding of another run of the encoder."""
    room = _SAME * float(np.nanstd(stored))
    return vectors.shape == stored.shape and np.allclose(vectors, stored, rtol=0, atol=room, equal_nan=True)


def join_embeddings(parts: Sequence[np.ndarray]) -> JoinedEmbedding:
    """One or more embeddings ``(G, D_k)`` side by side."""
    if len(parts) == 1:
        return JoinedEmbedding(parts[0], ())
    return JoinedEmbedding(np.hstack(parts), tuple(part.shape[1] for part in parts))


def _as_floats(values: Any, key: str) -> np.ndarray:
    if isinstance(values, pd.DataFrame):
        wrong = [name for name, dtype in values.dtypes.items() if not _is_real(dtype)]
        if wrong:
            msg = f".varm[{key!r}] has columns that are no numbers: {', '.join(map(repr, wrong[:5]))}. Drop them."
            raise ArgumentError(msg, page="other-encoders")
        return values.to_numpy(dtype=np.float32, na_value=np.nan)
    values = values.toarray() if sparse.issparse(values) else np.asarray(values)
    if not _is_real(values.dtype):
        msg = (
            f".varm[{key!r}] holds values of type {values.dtype}; a gene embedding is of real numbers. "
            f"Convert it: `adata.varm[{key!r}].astype(float)`."
        )
        raise ArgumentError(msg, page="other-encoders")
    return values.astype(np.float32, copy=False)


def _is_real(dtype: Any) -> bool:
    return bool(pd.api.types.is_numeric_dtype(dtype)) and not pd.api.types.is_complex_dtype(dtype)
