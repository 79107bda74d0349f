"""Pooling gene embeddings over cells anew, with other weights, groups or batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from scgrn_tl.core import ArgumentError, check_unique_genes
from scgrn_tl.core.argument_types import typed_arguments
from scgrn_tl.core.slots import Slots, check_key, open_anndata, run_record, write_slots

from ._cell_groups import CellGroups, by_batch
from ._cell_weighting import CellWeighting
from ._embedded_cells import open_cells
from ._group_embeddings import group_record
from ._stored_embedding import read_stored_embedding
from ._strata import Stratum, pool_strata

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from mudata import MuData

__all__ = ["attentive_pool"]


@typed_arguments
def attentive_pool(
    adata: AnnData | MuData,
    *,
    weighting: Literal["attention", "mean", "softmax", "top_k"] = "attention",
    temperature: float = 1.0,
    top_k: int | None = None,
    groupby: str | None = None,
    batch_key: str | None = None,
    hidden: str | os.PathLike[str] | None = None,
    key: str = "scbert",
    key_added: str | None = None,
    modality: str = "rna",
    copy: bool = False,
) -> AnnData | MuData | None:
    r"""Pool gene embeddings over cells anew.

    .. math:: Z_t = \frac{1}{|B|} \sum_{b ∈ B} \frac{\sum_{n ∈ b} w_{t,n} h_{t,n}}{\sum_{n ∈ b} w_{t,n}}

    with hidden states :math:`h`, and weights :math:`w` made from the attention sums :math:`a_{t,n}` that
    :func:`scbert_embed` stored. Without ``batch_key`` all cells are one batch, and ``weighting="attention"`` is eq. 6
    of Kommu et al. 2024.

    Parameters
    ----------
    adata
        An AnnData that :func:`scbert_embed` was run on. It may have been subset to some of the cells since.
    weighting
        ``"attention"`` weighs a cell by :math:`a_{t,n}`; ``"mean"`` weighs all alike; ``"softmax"`` by
        :math:`\exp(a_{t,n} / τ)`; ``"top_k"`` by :math:`a_{t,n}` in the k cells where it is largest and not at all
        elsewhere. With ``groupby`` or ``batch_key`` each group and each batch has its own k cells.
    temperature
        τ of ``"softmax"``. Attention sums to 1 over a cell's T genes, so differences between cells are of the order of
        1/T, and so is a temperature that tells them apart.
    top_k
        k of ``"top_k"``.
    groupby
        Column of ``obs``; also pools each of its groups by itself.
    batch_key
        Column of ``obs`` with batches that get equal total weight for each gene, however many cells they have. Cells
        without a value are left out.
    hidden
        The zarr store that ``scbert_embed(hidden_to=…)`` wrote. Without it, cells are encoded again in a stream, with
        the weights and settings that ``uns[key]`` names; twice, if ``weighting`` is ``"softmax"`` or ``"top_k"`` and
        attention was not stored.
    key
        ``key_added`` of :func:`scbert_embed`.
    key_added
        Name under which results are written; ``f"{key}_pool_{weighting}"`` by default.
    modality
        Modality of a MuData.
    copy
        Return a copy with the results instead of writing in place.

    Returns
    -------
    ``None``, or the copy. Sets:

    ``varm[key_added]`` : ``float32 (G, D)``
        Gene embeddings; NaN where a gene was not embedded. With ``groupby``, also ``varm[f"{key_added}_{group}"]``.
    ``uns[key_added]``
        ``params``, ``groups``, ``batches``, ``n_cells`` and ``version``; with ``groupby``, also ``groups_sha256`` and
        ``groups_n_obs``, as :func:`scbert_embed` keeps them.

    Raises
    ------
    ArgumentError
        If an argument cannot be used, or ``hidden`` is of other data.
    MissingKeyError
        If :func:`scbert_embed` was not run, or a column is not there.
    DuplicateGenesError
        If ``var_names`` are not unique.
    WeightsUnavailableError, WeightsError
        If cells are to be encoded again and the weights are gone or are not those of before.

    Examples
    --------
    >>> import scgrn_tl as sg
    >>> sg.tl.scbert_embed(adata, weights="fit", hidden_to="hidden.zarr")  # doctest: +SKIP
    >>> sg.tl.attentive_pool(adata, weighting="top_k", top_k=50, hidden="hidden.zarr")  # doctest: +SKIP
    """
    from scgrn_tl.models.pooling import mean_of_pools

    data = adata
    adata = open_anndata(data, modality=modality, copy=copy)
    rule = CellWeighting(weighting, temperature, top_k)
    if key_added is None:
        key_added = f"{key}_pool_{weighting}"
    check_key("key_added", key_added)
    if key_added in {key, f"{key}_mean"}:
        msg = f"key_added={key_added!r} is where scbert_embed's own results are, which this needs; choose another name."
        raise ArgumentError(msg)
    check_unique_genes([str(name) for name in adata.var_names])
    embedding = read_stored_embedding(adata, key)
    groups = None if groupby is None else CellGroups.from_obs(adata, groupby, "groupby")
    batches = None if batch_key is None else CellGroups.from_obs(adata, batch_key, "batch_key", most=None)
    source = open_cells(adata, key, embedding, rule, hidden)
    members: dict[str | None, np.ndarray] = {None: embedding.pooled}
    if groups is not None:
        members |= {name: mask & embedding.pooled for name, mask in groups.masks().items()}
    strata = [
        Stratum.empty(group, part, rule, len(embedding.genes), source.dim)
        for group, member in members.items()
        for part in by_batch(member, batches).values()
    ]
    pool_strata(strata, rule, source)

    slots = Slots(dropped=_earlier_results(adata, key_added))
    where = adata.var_names.get_indexer(list(embedding.genes))
    for group in dict.fromkeys(stratum.group for stratum in strata):
        pooled = mean_of_pools(stratum.pool for stratum in strata if stratum.group == group)
        values = np.full((adata.n_vars, source.dim), np.nan, dtype=np.float32)
        values[where[where >= 0]] = pooled[where >= 0]
        slots.varm[key_added if group is None else f"{key_added}_{group}"] = values
    slots.uns[key_added] = run_record(
        {
            "weighting": weighting,
            "temperature": float(temperature) if weighting == "softmax" else None,
            "top_k": top_k,
            "groupby": groupby,
            "batch_key": batch_key,
            "hidden": hidden,
            "key": key,
        },
        **group_record(groups),
        batches=[] if batches is None else batches.names,
        n_cells=len(embedding.cells),
        seed=None,
    )
    return write_slots(data, slots, modality=modality, copy=copy)


def _earlier_results(adata: AnnData, key: str) -> set[tuple[str, str]]:
    record = adata.uns.get(key)
    if not isinstance(record, dict):
        return set()
    return {("varm", f"{key}_{group}") for group in record.get("groups", [])}
