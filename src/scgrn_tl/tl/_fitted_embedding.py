"""Which gene embedding a network was fitted with: noted by the fit, and looked up to explain it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import sparse

from scgrn_tl.core import ArgumentError, MissingKeyError, read_embedding
from scgrn_tl.core.embedding_source import embedding_sha256
from scgrn_tl.core.gene_embedding import same_vectors

from ._cell_groups import CellGroups
from ._stored_embedding import StoredEmbedding, read_stored_embedding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from scgrn_tl.core import GRNTask

__all__ = ["FittedEmbedding", "data_record", "fitted_embedding", "mean_expression", "network_params"]


class FittedEmbedding(NamedTuple):
    """The embedding that a network was fitted with."""

    key: str
    """Of its record in ``uns`` and its attention in ``obsm``."""
    stored: StoredEmbedding
    vectors: np.ndarray
    """``float32 (G, D)``, NaN where a gene has none."""
    pooled: np.ndarray
    """``bool[N]``, the cells that it was pooled over: of a group's own embedding those of the group."""


def network_params(adata: AnnData, key: str) -> Mapping[str, Any]:
    """The parameters that the network was made with; none where there is no record."""
    params: Mapping[str, Any] = _record(adata, key).get("params", {})
    return params


def _record(adata: AnnData, key: str) -> Mapping[str, Any]:
    record = adata.uns.get(key)
    return record if hasattr(record, "get") else {}


def data_record(adata: AnnData, reps: Sequence[str], task: GRNTask | None = None) -> dict[str, Any]:
    """What a fit notes of its data, so that it can be told later whether the AnnData still holds the same.

    ``n_cells``, ``n_genes``, with a ``task`` the ``mean_expression`` in it, and if there are ``reps``,
    ``embedding_sha256`` of each.
    """
    hashes = [embedding_sha256(read_embedding(adata, rep)) for rep in reps]
    of_reps = {"embedding_sha256": hashes} if hashes else {}
    of_task = {} if task is None else {"mean_expression": mean_expression(task)}
    return {"n_cells": adata.n_obs, "n_genes": adata.n_vars, **of_task, **of_reps}


def mean_expression(task: GRNTask) -> float:
    """Over all genes and cells."""
    values = task.expression.data if sparse.issparse(task.expression) else task.expression
    return float(values.sum(dtype=np.float64) / np.prod(task.expression.shape))


def fitted_embedding(adata: AnnData, key: str, rep: str) -> FittedEmbedding | str:
    """The embedding ``rep`` as the network ``key`` was fitted with it, or why there is no such.

    ``rep`` names the embedding of all cells, or for the network of a group that group's own. After joint training, it
    is the one that the trained encoder makes.
    """
    if key not in adata.uns:
        return f"There is no .uns[{key!r}], which tells what gene embedding the network was fitted with."
    params = network_params(adata, key)
    fitted_with = np.atleast_1d(params.get("use_rep", [])).astype(str).tolist()
    is_joint = "joint" in _record(adata, key)
    suffix = f"_{params['group']}" if "group" in params else ""
    name = rep + suffix if rep + suffix in fitted_with else rep
    of_group = bool(suffix) and name in fitted_with and name.endswith(suffix) and name not in adata.uns
    if not is_joint and name not in fitted_with:
        if not fitted_with:
            return f"The network was fitted with no gene embedding; `sg.tl.fit_grn(…, use_rep={rep!r})` fits with one."
        which = ", ".join(f"varm[{other!r}]" for other in fitted_with)
        return f"The network was fitted with {which}, not with varm[{rep!r}] (rep=)."
    record_key = name.removesuffix(suffix) if of_group else name
    try:
        stored = read_stored_embedding(adata, record_key)
        vectors = read_embedding(adata, name)
        pooled = stored.pooled & (_members(adata, params) if of_group else True)
    except (MissingKeyError, ArgumentError) as error:
        return str(error)
    if reason := (
        _why_other_cells(adata, key, record_key, stored)
        or (_why_not_tuned(adata, key, rep, vectors) if is_joint else "")
        or ("" if is_joint else _why_embedded_anew(adata, key, fitted_with.index(name), name, vectors))
        or _why_no_attention(record_key, stored)
    ):
        return reason
    return FittedEmbedding(record_key, stored, vectors, pooled)


def _members(adata: AnnData, params: Mapping[str, Any]) -> np.ndarray:
    """``bool[N]``, the cells of the group that the network is of."""
    column, group = str(params.get("groupby")), str(params["group"])
    members = CellGroups.from_obs(adata, column, "groupby").masks().get(group)
    found = 0 if members is None else int(members.sum())
    if members is None or found != int(params.get("n_cells", found)):
        n_cells = params.get("n_cells")
        msg = (
            f"obs[{column!r}] has {found} cells of group {group!r}; the network was fitted to {n_cells}. "
            "Put back the column that it was fitted with, or run `sg.tl.fit_grn` again."
        )
        raise ArgumentError(msg)
    return members


def _why_other_cells(adata: AnnData, key: str, rep: str, stored: StoredEmbedding) -> str:
    """Weights are shares of what all pooled cells have: all of them have to be there."""
    n_cells = _record(adata, key).get("data", {}).get("n_cells", adata.n_obs)
    if adata.n_obs != n_cells:
        return (
            f"The network was fitted to {n_cells:,} cells, and there are {adata.n_obs:,}: what a cell weighed among "
            "those is not known. Explain edges before cells are left out, or embed and fit again."
        )
    n_pooled = stored.record.get("cells", {}).get("pooled", len(stored.cells))
    if len(stored.cells) != n_pooled:
        return (
            f"varm[{rep!r}] was pooled over {n_pooled:,} cells, of which {len(stored.cells):,} are left. Run "
            "`sg.tl.scbert_embed` and `sg.tl.fit_grn` again."
        )
    return ""


def _why_not_tuned(adata: AnnData, key: str, rep: str, vectors: np.ndarray) -> str:
    """A joint fit stores what it was scored with: another embedding of the trained encoder is the same."""
    slot, params = f"{key}_scbert", network_params(adata, key)
    if slot in adata.varm and same_vectors(vectors, read_embedding(adata, slot)):
        return ""
    reason = f"The network was scored with the jointly trained varm[{slot!r}], not with varm[{rep!r}] (rep=). "
    if params.get("n_models", 1) > 1:
        return f"{reason}Of an ensemble, the trained encoders are not kept: fit with n_models=1 and joint_to=."
    folder = str(params.get("joint_to", "folder"))
    fit = "" if "joint_to" in params else f"fit with joint_to={folder!r}, "
    return (
        f"{reason}For its attention, {fit}run `sg.tl.scbert_embed(adata, weights={folder!r}, key_added='tuned')`, and "
        "explain with rep='tuned'."
    )


def _why_embedded_anew(adata: AnnData, key: str, place: int, name: str, vectors: np.ndarray) -> str:
    """The hash tells, unless genes were left out since, or the record is of a version that had none."""
    data = _record(adata, key).get("data", {})
    hashes = np.atleast_1d(data.get("embedding_sha256", []))
    if data.get("n_genes") != adata.n_vars or place >= len(hashes) or embedding_sha256(vectors) == hashes[place]:
        return ""
    return f"varm[{name!r}] was changed since the network was fitted with it: run `sg.tl.fit_grn` again."


def _why_no_attention(rep: str, stored: StoredEmbedding) -> str:
    """Where attention is not what the cells were weighed by."""
    params = stored.record.get("params", {})
    if params.get("pool") == "mean":
        return f"varm[{rep!r}] is the plain mean over cells (pool='mean'): every cell weighs the same."
    if params.get("batch_key") is not None:
        return f"varm[{rep!r}] weighs batches alike (batch_key=): attention within all cells is not what cells weigh."
    return ""
